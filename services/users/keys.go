package users

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trackway/trackway/services/platform/auth"
)

const (
	// minKeyDelay is longer than those who verify tokens wait before they look for a key again.
	minKeyDelay = 5 * time.Second
	// keyChecksLost is how many times in a row a replica may fail to say that it has a key, before the others forget it.
	keyChecksLost = 4
	// keyTimeout bounds one look.
	keyTimeout = 10 * time.Second
)

// keyring are the keys that sign access tokens, as they are in the files, which may change at any time.
//
// A key is published as soon as one replica has it, by all of them, and signs when it has been known for a while, so that
// nobody meets a token before its key. One that is gone is published until its last token has ended. Postgres knows since
// when each is there, and so a replica that starts anew does not take an old key for a new one.
type keyring struct {
	files       []string
	issuer      *auth.Issuer
	store       store
	every       time.Duration
	delay, keep time.Duration
	log         *slog.Logger

	signs auth.SigningKey   // is zero before the first look
	here  []auth.SigningKey // in the files at the last look
}

func newKeyring(cfg Config, s store, log *slog.Logger) *keyring {
	k := &keyring{
		files: cfg.SigningKeys, issuer: auth.NewIssuerOf(cfg.Auth, cfg.AccessTTL), store: s, every: cfg.KeyCheck, delay: cfg.KeyDelay, log: log,
	}
	k.keep = k.issuer.Accepted() + keyChecksLost*max(cfg.KeyCheck, time.Second)
	return k
}

// readKeys reads the keys in the order in which they may sign. Of a folder, hidden files are left out, as Kubernetes has
// such of its own.
func readKeys(files []string) ([]auth.SigningKey, error) {
	var pems [][]byte
	for _, name := range files {
		names, err := keyFiles(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("SIGNING_KEY_FILES: %w", err)
		}
		for _, name := range names {
			pem, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("SIGNING_KEY_FILES: %w", err)
			}
			pems = append(pems, pem)
		}
	}
	keys, err := auth.ParseKeys(pems...)
	if err != nil {
		return nil, fmt.Errorf("SIGNING_KEY_FILES: %w", err)
	}
	return keys, nil
}

func keyFiles(name string) ([]string, error) {
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range slices.Backward(entries) { // which are in order
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(name, e.Name()))
		}
	}
	return names, nil
}

// begin takes the keys into use before anything is signed.
func (k *keyring) begin(ctx context.Context, keys []auth.SigningKey) error {
	k.here = keys
	return k.agree(ctx)
}

// run looks again and again, until ctx ends. It logs when something begins to be wrong, and when it no longer is; what is
// known stays in use meanwhile.
func (k *keyring) run(ctx context.Context) {
	tick := time.NewTicker(k.every)
	defer tick.Stop()
	wrong := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys, err := readKeys(k.files)
		if err == nil {
			k.here = keys
		}
		err = errors.Join(err, k.agree(ctx))
		switch {
		case ctx.Err() != nil:
		case err != nil && err.Error() != wrong:
			wrong = err.Error()
			k.log.ErrorContext(ctx, "the signing keys can not be read again: those that are known stay", "error", err)
		case err == nil && wrong != "":
			wrong = ""
			k.log.InfoContext(ctx, "the signing keys can be read again")
		}
	}
}

// agree tells the other replicas of the keys that are here, and does with them what all have to.
func (k *keyring) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	held := k.here
	if k.signs.ID != "" && !slices.ContainsFunc(held, k.signs.Is) { // until another may sign
		held = append(slices.Clone(held), k.signs)
	}
	var rows []*signingKey
	for _, key := range held {
		if !slices.ContainsFunc(rows, func(r *signingKey) bool { return r.ID == key.ID }) {
			rows = append(rows, &signingKey{ID: key.ID, Public: key.Key})
		}
	}
	if err := k.store.holdKeys(ctx, rows, k.keep); err != nil {
		return err
	}
	all, err := k.store.listKeys(ctx, k.keep, k.delay)
	if err != nil {
		return err
	}
	signs := k.choose(all)
	if k.signs.ID != "" && signs.ID != k.signs.ID {
		k.log.InfoContext(ctx, "another key signs access tokens from now on", "kid", signs.ID)
	}
	k.signs = signs
	k.issuer.Use(signs, publish(all, held)...)
	return nil
}

// choose gives the key that signs: the first of those here that everybody knows. While there is none it stays the one
// that signed before, and in the beginning, when nobody can know any, it is the one that was there first.
func (k *keyring) choose(all []*signingKey) auth.SigningKey {
	for _, key := range k.here {
		if slices.ContainsFunc(all, func(r *signingKey) bool { return r.ID == key.ID && r.Known }) {
			return key
		}
	}
	if k.signs.ID != "" {
		return k.signs
	}
	first := k.here[0]
	seen := func(key auth.SigningKey) time.Time {
		i := slices.IndexFunc(all, func(r *signingKey) bool { return r.ID == key.ID })
		if i < 0 {
			return time.Now()
		}
		return all[i].SeenAt
	}
	for _, key := range k.here[1:] {
		if seen(key).Before(seen(first)) {
			first = key
		}
	}
	return first
}

// publish gives the keys that all know of, and those that are here.
func publish(all []*signingKey, here []auth.SigningKey) []auth.PublicKey {
	var keys []auth.PublicKey
	for _, r := range all {
		keys = append(keys, auth.PublicKey{ID: r.ID, Key: r.Public})
	}
	for _, key := range here {
		if !slices.ContainsFunc(keys, func(p auth.PublicKey) bool { return p.ID == key.ID }) {
			keys = append(keys, key.PublicKey)
		}
	}
	return keys
}

// jwks is what verifies access tokens, as the replicas know it together; or, when Postgres can not be asked, as this one
// knew it last.
func (k *keyring) jwks(ctx context.Context) ([]byte, error) {
	all, err := k.store.listKeys(ctx, k.keep, k.delay)
	if err != nil {
		k.log.DebugContext(ctx, "the signing keys of the other replicas are not known", "error", err)
		return k.issuer.JWKS()
	}
	return auth.JWKS(k.issuer.Also(publish(all, nil))...)
}
