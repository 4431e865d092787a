package graph

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/peers"
)

// What a replica is asked about a stream that another one has, it carries there by Redis, and answers as that one does.
// An operation runs with the access token of whoever posts it, and its variables may be secret. Redis sees neither: it knows
// a stream by a hash of its token, and all that is carried is sealed with a key that comes of that token. So whoever can
// write to Redis alone starts nothing either.

const (
	// carryTimeout is how long the way to the replica that has a stream, and back, may take.
	carryTimeout = 3 * time.Second
	// obeyTimeout is how long that replica may take. It is shorter, so that what it starts is not told to have failed.
	obeyTimeout = 2 * time.Second
)

// channelKey is made of a stream's token.
type channelKey struct{ hash, secret string }

const channelKeySize = 32

func newChannelKey(token string) channelKey {
	derive := func(what string) string {
		key, err := hkdf.Key(sha256.New, []byte(token), nil, what, channelKeySize)
		if err != nil {
			panic(err) // only a key that is far longer
		}
		return string(key)
	}
	return channelKey{derive("trackway stream name"), derive("trackway stream key")}
}

// name is what replicas know the stream by.
func (k channelKey) name() string { return base64.RawURLEncoding.EncodeToString([]byte(k.hash)) }

func (k channelKey) cipher() cipher.AEAD {
	block, err := aes.NewCipher([]byte(k.secret))
	if err != nil {
		panic(err) // only a key of another size
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only a cipher that is not AES
	}
	return sealer
}

// seal seals what is sent; about is what it answers, nil for a question.
func (k channelKey) seal(v any, about []byte) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err //nolint:wrapcheck // our own struct
	}
	return k.cipher().Seal(nil, nil, text, about), nil //nolint:gosec // this cipher makes its nonces itself
}

func (k channelKey) open(sealed, about []byte, v any) error {
	text, err := k.cipher().Open(nil, nil, sealed, about)
	if err != nil {
		return err //nolint:wrapcheck // it only says that it is not ours
	}
	return json.Unmarshal(text, v) //nolint:wrapcheck // our own struct
}

// order is what is carried.
type order struct {
	Token     string         `json:"token"`
	Operation string         `json:"operation"`
	Body      jsontext.Value `json:"body,omitempty"` // of the request that starts it; it is ended without one
}

// outcome is how an order was answered.
type outcome struct {
	Code   errs.Code `json:"code,omitempty"` // none if it was done
	Detail string    `json:"detail,omitempty"`
	Retry  int64     `json:"retry,omitempty"` // in nanoseconds
}

// carry has the replica that has the stream do what is asked here.
func (s *server) carry(ctx context.Context, caller *auth.Caller, key channelKey, o order) error {
	if s.cfg.Peers == nil {
		return noStream()
	}
	o.Token = caller.Token
	question, err := key.seal(o, nil)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, carryTimeout)
	defer cancel()
	answer, err := s.cfg.Peers.Ask(asking, caller.UserID, key.name(), question)
	switch {
	case errors.Is(err, peers.ErrNone), err == nil && len(answer) == 0:
		return noStream()
	case errors.Is(err, peers.ErrReserved):
		return notOpen()
	case err != nil:
		return unreachable(err)
	}
	var did outcome
	if err := key.open(answer, question, &did); err != nil {
		return unreachable(err)
	}
	if did.Code == "" {
		return nil
	}
	e := errs.New(did.Code, "%s", did.Detail)
	e.Retry = time.Duration(did.Retry)
	return e
}

// carried does what another replica was asked about a stream of ours, and seals how that went; nil is that there is no
// such stream.
func (s *server) carried(ctx context.Context, name string, question []byte) []byte {
	s.streams.mu.Lock()
	c := s.streams.channels[name]
	s.streams.mu.Unlock()
	if c == nil {
		return nil
	}
	var o order
	if c.key.open(question, nil, &o) != nil {
		return nil
	}
	var did outcome
	if err := s.obey(ctx, c, o); err != nil {
		e := errs.From(err)
		did = outcome{e.Code, e.Detail, int64(e.Retry)}
	}
	answer, err := c.key.seal(did, question)
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "answer another replica", "error", err)
		return nil
	}
	return answer
}

func (s *server) obey(ctx context.Context, c *channel, o order) error {
	caller, err := s.cfg.Verify(ctx, o.Token)
	if err != nil {
		return err
	}
	if caller.UserID != c.caller {
		return noStream()
	}
	if len(o.Body) == 0 {
		c.end(o.Operation)
		return nil
	}
	var p parameters
	if err := decode(o.Body, &p); err != nil {
		return err
	}
	return s.begin(ctx, c, caller, o.Operation, p)
}
