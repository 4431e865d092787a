// Writes dist/relay/relay.test.js: Babel's plugin of Relay puts what relay-compiler wrote into the place of each
// graphql`…`, as in every application with Relay.
import { transformFileAsync } from "@babel/core";
import { build } from "esbuild";

const relay = {
  name: "relay",
  setup({ onLoad }) {
    onLoad({ filter: /relay\/[^/]+\.ts$/ }, async ({ path }) => {
      const { code } = await transformFileAsync(path, {
        babelrc: false,
        configFile: false,
        presets: ["@babel/preset-typescript"],
        plugins: [["relay", { eagerEsModules: true, artifactDirectory: "./relay/__generated__" }]],
      });
      return { contents: code, loader: "js" };
    });
  },
};

await build({
  entryPoints: ["relay/relay.test.ts"],
  outdir: "dist/relay",
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  plugins: [relay],
});
