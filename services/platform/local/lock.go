package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// Lock makes the caller the only user of the folder dir, which it creates, until unlock is called or the process ends.
// If another has it, the error is a sentence that names the process.
func Lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's user must be able to pass through it
		return nil, err
	}
	return lock(dir, "lock")
}

func lock(dir, name string) (unlock func(), err error) {
	path := filepath.Join(dir, name)
	f := flock.New(path, flock.SetPermissions(0o600))
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !ok {
		holder := "another process"
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			holder = "process " + strings.TrimSpace(string(b))
		}
		return nil, fmt.Errorf("the folder %s is in use by %s: stop that one first, or choose another folder", dir, holder)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Unlock())
	}
	return func() { _ = f.Unlock() }, nil // the file stays: removing it would let two lock different files of one name
}
