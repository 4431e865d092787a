package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/gofrs/flock"
)

const (
	oldestPostgres  = 15 // events need pg_snapshot and xid8, tests CREATE DATABASE … STRATEGY
	downloadTimeout = 5 * time.Minute
)

// binaries is a folder that holds initdb and postgres.
type binaries struct {
	dir   string
	major int
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// findPostgres returns Postgres of the major version wanted, or any that is new enough if wanted is 0. What this
// machine has goes before a download.
func findPostgres(ctx context.Context, wanted int) (binaries, error) {
	found := installed(ctx)
	if b, ok := choose(found, wanted); ok {
		return b, nil
	}
	b, err := download(ctx, wanted)
	if err == nil {
		return b, nil
	}
	if wanted != 0 {
		return binaries{}, fmt.Errorf("the data was made by Postgres %d, which this machine has not (download: %w): install "+
			"that version, or remove the folder to start afresh", wanted, err)
	}
	have := "no Postgres"
	if len(found) > 0 {
		have = fmt.Sprintf("only Postgres %d (%s)", found[0].major, found[0].dir)
	}
	return binaries{}, fmt.Errorf("found %s on this machine, and downloading one failed (%w): install Postgres %d or newer, "+
		"with `apt-get install postgresql` on Debian and Ubuntu or `brew install postgresql` on macOS", have, err, oldestPostgres)
}

// choose takes the first of the version wanted; if wanted is 0, the first that is new enough.
func choose(found []binaries, wanted int) (binaries, bool) {
	i := slices.IndexFunc(found, func(b binaries) bool {
		return b.major == wanted || wanted == 0 && b.major >= oldestPostgres
	})
	if i < 0 {
		return binaries{}, false
	}
	return found[i], true
}

// installed lists what this machine has: first the one on PATH, then the usual places, newest first.
func installed(ctx context.Context) []binaries {
	var found []binaries
	if path, err := exec.LookPath("postgres"); err == nil {
		if b, ok := inspect(ctx, filepath.Dir(path)); ok {
			found = append(found, b)
		}
	}
	onPath := len(found)
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/usr/local/pgsql/bin",
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a malformed pattern fails
		}
		for _, dir := range dirs {
			if b, ok := inspect(ctx, dir); ok {
				found = append(found, b)
			}
		}
	}
	slices.SortStableFunc(found[onPath:], func(a, b binaries) int { return b.major - a.major })
	return found
}

// inspect asks the postgres in dir for its version.
func inspect(ctx context.Context, dir string) (binaries, bool) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	b := binaries{dir: dir}
	if _, err := os.Stat(b.initdb()); err != nil {
		return b, false
	}
	out, err := exec.CommandContext(ctx, b.postgres(), "--version").Output()
	if err != nil {
		return b, false
	}
	// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "postgres (PostgreSQL) 18beta1"
	m := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindSubmatch(out)
	if m == nil {
		return b, false
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err == nil
}

// download fetches Postgres into the user's cache folder, once.
func download(ctx context.Context, wanted int) (binaries, error) {
	versions := map[int]embeddedpostgres.PostgresVersion{
		15: embeddedpostgres.V15, 16: embeddedpostgres.V16, 17: embeddedpostgres.V17, 18: embeddedpostgres.V18,
	}
	if wanted == 0 {
		wanted = slices.Max(slices.Collect(maps.Keys(versions)))
	}
	version, ok := versions[wanted]
	if !ok {
		return binaries{}, fmt.Errorf("there is no Postgres %d to download", wanted)
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()

	cache := "/var/cache/trackway" // of root, whose home Postgres, as another user, could not enter
	if os.Geteuid() != 0 {
		dir, err := os.UserCacheDir()
		if err != nil {
			return binaries{}, err
		}
		cache = filepath.Join(dir, "trackway")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // as above
		return binaries{}, err
	}
	downloading := flock.New(filepath.Join(cache, "download.lock"))
	if _, err := downloading.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return binaries{}, fmt.Errorf("wait for another download: %w", err)
	}
	defer func() { _ = downloading.Unlock() }()

	final := filepath.Join(cache, "postgres-"+string(version))
	if b, ok := inspect(ctx, filepath.Join(final, "bin")); ok {
		return b, nil
	}
	work, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return binaries{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := fetch(ctx, version, work); err != nil {
		return binaries{}, err
	}
	if err := errors.Join(os.RemoveAll(final), os.Rename(filepath.Join(work, "postgres"), final)); err != nil {
		return binaries{}, err
	}
	b, ok := inspect(ctx, filepath.Join(final, "bin"))
	if !ok {
		return binaries{}, fmt.Errorf("the downloaded Postgres in %s does not run", final)
	}
	return b, nil
}

// fetch puts the binaries into work/postgres.
func fetch(ctx context.Context, version embeddedpostgres.PostgresVersion, work string) error {
	port, err := listen(ctx, 0)
	if err != nil {
		return err
	}
	binaries := filepath.Join(work, "postgres")
	config := embeddedpostgres.DefaultConfig().Version(version).Port(uint32(port)).Logger(io.Discard).
		CachePath(work).BinariesPath(binaries).RuntimePath(filepath.Join(work, "run")).
		Locale("none") // it cannot only download: a locale that does not exist ends it after that
	ended := make(chan error, 1)
	go func() { ended <- embeddedpostgres.NewDatabase(config).Start() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		return ctx.Err() // it cannot be cancelled either, and is left to itself
	}
	if _, statErr := os.Stat(filepath.Join(binaries, "bin", "postgres")); statErr != nil {
		return err
	}
	return nil
}
