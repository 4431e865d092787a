package users

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

// The cost of a new hash, as OWASP's password storage cheat sheet has it.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltSize     = 16
	keySize      = 32
)

// hasher hashes passwords with Argon2id (RFC 9106), only so many at once: each takes 19 MiB and a CPU for a while, and
// whoever wants to sign in or register without a token can make us do it.
type hasher struct {
	slots chan struct{}
	decoy string
	used  atomic.Bool // since memory was given back
}

func newHasher(most int) *hasher {
	// Random bytes are the hash of a password that nobody has, and cost the same to compare with.
	decoy := newPHC()
	rand.Read(decoy.key)
	return &hasher{slots: make(chan struct{}, most), decoy: encode(decoy)}
}

// hash makes a new hash, in the PHC string format with its parameters:
// https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	var made string
	err := h.limit(ctx, func() {
		p := newPHC()
		p.key = p.derive(password)
		made = encode(p)
	})
	return made, err
}

// matches reports whether the hash is the password's. An empty hash is that of no password, and takes as long.
func (h *hasher) matches(ctx context.Context, password, hash string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.decoy
	}
	want, err := decode(hash)
	if err != nil {
		return false, err
	}
	got := want
	err = h.limit(ctx, func() { got.key = want.derive(password) })
	return err == nil && subtle.ConstantTimeCompare(got.key, want.key) == 1 && known, err
}

// outdated reports whether the hash was made at another cost than today's.
func outdated(hash string) bool {
	p, err := decode(hash)
	return err == nil && (p.memory != argonMemory || p.time != argonTime || p.threads != argonThreads ||
		len(p.key) != keySize || len(p.salt) != saltSize)
}

// common are the most common of leaked passwords, in lower case, one a line, in order: those of @zxcvbn-ts/language-common
// 4.1.3 that are long enough to be a password here. passwords.LICENSE.txt is their licence.
//
//go:embed passwords.txt
var common string

// isCommon reports whether the password is among those that attackers try first, in whatever case it is written.
func isCommon(password string) bool {
	password = strings.ToLower(password)
	// The first line that begins at i or later and is not below the password.
	begin := func(i int) int {
		if i == 0 {
			return 0
		}
		return i + strings.IndexByte(common[i-1:], '\n')
	}
	line := func(i int) string {
		l, _, _ := strings.Cut(common[begin(i):], "\n")
		return l
	}
	i := sort.Search(len(common)-1, func(i int) bool { return line(i) >= password })
	return line(i) == password
}

// limit does the work when fewer than the most are under way, and waits for that as long as ctx lasts.
func (h *hasher) limit(ctx context.Context, work func()) error {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
		h.used.Store(true)
		work()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
}

// giveBackEvery is how often the memory of hashes is given back to the machine, if there were any.
const giveBackEvery = 10 * time.Second

// giveBack gives the memory of hashes back to the machine, until ctx ends: Go keeps what it has had for long, and a burst of
// sign-ins takes many times what the service needs otherwise.
func (h *hasher) giveBack(ctx context.Context) {
	tick := time.NewTicker(giveBackEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if len(h.slots) == 0 && h.used.Swap(false) {
				debug.FreeOSMemory()
			}
		}
	}
}

// phc is what a PHC string of Argon2id says.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// newPHC has today's cost, a new salt, and room for the key.
func newPHC() phc {
	p := phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	rand.Read(p.salt)
	return p
}

// derive gives the password's key with the parameters, salt and key size of p.
func (p phc) derive(password string) []byte {
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
}

const phcFormat = "$argon2id$v=%d$m=%d,t=%d,p=%d$"

func encode(p phc) string {
	return fmt.Sprintf(phcFormat, argon2.Version, p.memory, p.time, p.threads) +
		base64.RawStdEncoding.EncodeToString(p.salt) + "$" + base64.RawStdEncoding.EncodeToString(p.key)
}

// decode reads what encode wrote, at whatever cost it was made.
func decode(s string) (p phc, err error) {
	var version int
	if _, err := fmt.Sscanf(s, phcFormat, &version, &p.memory, &p.time, &p.threads); err != nil {
		return phc{}, errors.New("a stored password hash is no PHC string of Argon2id") // err could quote it
	}
	parts := strings.Split(s, "$")
	p.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[len(parts)-2])
	if err == nil {
		p.key, err = base64.RawStdEncoding.Strict().DecodeString(parts[len(parts)-1])
	}
	if err != nil || version != argon2.Version || p.time < 1 || p.threads < 1 || len(p.key) < keySize {
		return phc{}, errors.New("a stored password hash is damaged")
	}
	return p, nil
}
