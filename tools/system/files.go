package system

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// secrets are the files that a cluster mounts from its secret store.
type secrets struct {
	signingKey    string // PKCS#8, PEM
	adminPassword string
}

// makeSecrets generates what dir lacks.
func makeSecrets(dir string) (secrets, error) {
	s := secrets{signingKey: filepath.Join(dir, "signing-key.pem"), adminPassword: filepath.Join(dir, "admin-password")}
	return s, errors.Join(
		keep(s.signingKey, newSigningKey),
		keep(s.adminPassword, func() ([]byte, error) { return []byte(rand.Text() + "\n"), nil }),
	)
}

func newSigningKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// keep makes the file unless it is there. It appears under its name when it is complete, so that a start killed in
// between leaves no half of a key.
func keep(path string, content func() ([]byte, error)) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := content()
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, b, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// once does something that may be done again, and marks with the file that it has been done.
func once(path string, do func() error) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}
