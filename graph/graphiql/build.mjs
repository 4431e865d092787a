// Writes graphiql.js.gz, graphiql.css.gz and LICENSES.txt, which are committed and embedded:
//
//   npm ci && node build.mjs
//
// The same versions give the same bytes. Nothing of it is needed to build or run Trackway.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const result = await build({
  entryPoints: { graphiql: 'page.jsx' },
  bundle: true,
  minify: true,
  jsx: 'automatic',
  target: 'es2022',
  outdir: '.',
  write: false,
  metafile: true,
  legalComments: 'none', // they are in LICENSES.txt
  define: { 'process.env.NODE_ENV': '"production"' },
});
for (const { path, contents } of result.outputFiles) {
  writeFileSync(`${path}.gz`, gzipSync(contents, { level: 9 }));
}

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = input.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//);
  if (found) packages.add(found[1]);
}
const notices = [...packages].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json')));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  const text = file ? readFileSync(join(folder, file), 'utf8').replace(/[ \t\r]+$/gm, '').trim() : `License: ${license}`;
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync('LICENSES.txt', `GraphiQL's files hold these packages.\n\n${notices.join(`\n${'-'.repeat(80)}\n\n`)}`);
