package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as. The zero value is the user we run as.
type account struct {
	name string
	cred *syscall.Credential
}

// serverAccount picks somebody else when we are root, whom Postgres refuses.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		groups, err := u.GroupIds()
		if err != nil {
			return account{}, fmt.Errorf("groups of user %s: %w", name, err)
		}
		for _, g := range groups {
			if id, err := strconv.ParseUint(g, 10, 32); err == nil {
				cred.Groups = append(cred.Groups, uint32(id))
			}
		}
		return account{name, cred}, nil
	}
	return account{}, errors.New("start Postgres: it refuses to run as root, and there is no user postgres or nobody to " +
		"run it as: add one (useradd --system postgres), or do not run as root")
}

// own gives path to the account.
func (a account) own(path string) error {
	if a.cred == nil {
		return nil
	}
	return os.Chown(path, int(a.cred.Uid), int(a.cred.Gid))
}

// letIn makes sure that the account can pass through dir, a folder of ours, and the folders above it.
func (a account) letIn(dir string) error {
	if a.cred == nil {
		return nil
	}
	if at := a.barrier(filepath.Dir(dir)); at != "" {
		return fmt.Errorf("start Postgres in %s: it refuses to run as root, and the user %s may not enter %s: choose "+
			"a folder elsewhere, or allow it with chmod o+x %s", dir, a.name, at, at)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|0o011)
}

// barrier returns the innermost folder on the way to dir, or dir itself, that the account may not enter; "" if it may
// enter them all. Folders that do not exist yet are no barrier.
func (a account) barrier(dir string) string {
	at, err := filepath.EvalSymlinks(dir)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		at, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return dir
	}
	for ; ; at = filepath.Dir(at) {
		if !a.mayEnter(at) {
			return at
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

func (a account) mayEnter(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case a.cred.Uid == 0:
		return true
	case owner.Uid == a.cred.Uid:
		return info.Mode()&0o100 != 0
	case owner.Gid == a.cred.Gid || slices.Contains(a.cred.Groups, owner.Gid):
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}

// DataDir returns the folder to keep data in: preferred, as an absolute path, or one under /var/lib/trackway that
// belongs to preferred if we are root and Postgres, which then runs as another user, could not get there.
func DataDir(preferred string) (string, error) {
	dir, err := filepath.Abs(preferred)
	if err != nil {
		return "", err
	}
	a, err := serverAccount()
	if err != nil {
		return "", err
	}
	if a.cred == nil || a.barrier(dir) == "" {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join("/var/lib/trackway", hex.EncodeToString(sum[:5])), nil
}
