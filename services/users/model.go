package users

import (
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/page"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	"github.com/trackway/trackway/services/rpc/tags"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// user is a row of users.
type user struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID           int64     `bun:",pk,autoincrement"`
	Version      int64     `bun:",nullzero,default:1"`
	CreatedAt    time.Time `bun:",nullzero,default:now()"`
	UpdatedAt    time.Time `bun:",nullzero,default:now()"`
	Name         string
	Email        string
	Role         usersv1.Role
	Active       bool
	PasswordHash string // empty is no password
	// ProvedEmail is the address at which all that signs in was chosen by whoever reads its mail.
	ProvedEmail string `bun:",nullzero"`

	// Relevance is how well the user matches a search, where there was one.
	Relevance int64 `bun:",scanonly"`
}

// userOrders are the orders that lists of users offer.
func userOrders(req *usersv1.ListUsersRequest) page.List[*user] {
	orders := page.List[*user]{
		{Name: "id", Expr: "u.id", Kind: page.Int, Value: func(u *user) any { return u.ID }},
		{Name: "name", Expr: "u.name", Kind: page.Text, Value: func(u *user) any { return u.Name }},
		{Name: "created_at", Expr: "u.created_at", Kind: page.Time, Value: func(u *user) any { return u.CreatedAt }},
		{Name: "updated_at", Expr: "u.updated_at", Kind: page.Time, Value: func(u *user) any { return u.UpdatedAt }},
	}
	return orders.Searched(req.GetSearch(), func(u *user) int64 { return u.Relevance })
}

// proto is the user as the caller may see it: the e-mail is for the user itself and for global admins.
func (u *user) proto(c *auth.Caller) *usersv1.User {
	m := &usersv1.User{
		Id: u.ID, Version: u.Version, CreatedAt: timestamppb.New(u.CreatedAt), UpdatedAt: timestamppb.New(u.UpdatedAt),
		Name: u.Name, Role: u.Role, Active: u.Active,
	}
	if c.Admin || c.UserID == u.ID {
		m.Email = new(u.Email)
	}
	return m
}

// proved reports whether all that signs in to the account was chosen by whoever reads the mail of its address: by a new
// password that was set by a mailed link, or by a sign-in with a provider that has verified the address. Registering does
// not tell, and neither does confirming another address, which the password of somebody else may have asked for.
func (u *user) proved() bool { return sameAddress(u.ProvedEmail, u.Email) }

// sameAddress reports whether two addresses are the same but for the case of ASCII letters. Unicode has other letters become
// these, too: K, the sign of Kelvin, in Go, and İ in Postgres; and whose address has one is somebody else.
func sameAddress(a, b string) bool {
	lower := func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	return strings.Map(lower, a) == strings.Map(lower, b)
}

// security is an event of the audit trail about the user, such as "password.changed".
func (u *user) security(typ string) events.Event {
	return events.Event{Type: typ, SubjectID: u.ID, Version: u.Version, Payload: &usersv1.User{Id: u.ID}}
}

// caller is the user as who it is when it signs in.
func (u *user) caller() *auth.Caller {
	return &auth.Caller{UserID: u.ID, Admin: u.Role == usersv1.Role_ROLE_ADMIN}
}

// event is what happened to the user: "created", "updated" or "deleted". It holds what any signed-in user may see and
// so no e-mail: events are read by other services and shown in feeds.
func (u *user) event(happened string) events.Event {
	return events.Event{
		Type: "user." + happened, SubjectID: u.ID, Version: u.Version, Payload: u.proto(&auth.Caller{}),
		Tags: []string{tags.User(u.ID), tags.Users()},
	}
}

// session is a row of sessions: one sign-in, which lasts until it expires or is revoked. Tokens are stored as their
// SHA-256 only: they are so many random bits that no guessing finds them.
type session struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID          string    `bun:",pk"`
	Version     int64     `bun:",nullzero,default:1"`
	CreatedAt   time.Time `bun:",nullzero,default:now()"`
	LastUsedAt  time.Time `bun:",nullzero,default:now()"`
	ExpiresAt   time.Time
	RevokedAt   time.Time `bun:",nullzero"`
	UserID      int64
	Device      string
	RefreshHash []byte // of the refresh token that works now
	FamilyHash  []byte // of what all refresh tokens of the session share
	Salt        []byte // see refreshToken.next
}

// proto is the session as its user, whose present session is current, may see it.
func (s *session) proto(current string) *usersv1.Session {
	return &usersv1.Session{
		Id: s.ID, UserId: s.UserID, CreatedAt: timestamppb.New(s.CreatedAt), LastUsedAt: timestamppb.New(s.LastUsedAt),
		ExpiresAt: timestamppb.New(s.ExpiresAt), Device: s.Device, Current: s.ID == current,
	}
}

// event is what happened to the session: "created", "revoked" or, when a refresh token came a second time and ended it,
// "reused". Its subject is the user. It does not tell the device, which is the user's own business; one that tells no
// session is about all the others that the user had.
func (s *session) event(happened string) events.Event {
	return events.Event{
		Type: "session." + happened, SubjectID: s.UserID, Version: max(s.Version, 1),
		Payload: &usersv1.Session{Id: s.ID, UserId: s.UserID},
	}
}

// token is a row of tokens: a personal access token.
type token struct {
	bun.BaseModel `bun:"table:tokens,alias:t"`

	ID         int64     `bun:",pk,autoincrement"`
	Version    int64     `bun:",nullzero,default:1"`
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
	UserID     int64
	Name       string
	Hash       []byte   // SHA-256 of the secret
	Scopes     []string `bun:",array"`
	ProjectIDs []int64  `bun:"project_ids,array,nullzero"`
	ExpiresAt  time.Time
	LastUsedAt time.Time `bun:",nullzero"`
	RevokedAt  time.Time `bun:",nullzero"`
}

// sid is the `sid` of the token's access tokens, which no session has.
func (t *token) sid() string { return "token:" + strconv.FormatInt(t.ID, 10) }

// event is what happened to the token: "created" or "revoked". Its subject is the user; one that tells no token is about
// all that the user had.
func (t *token) event(happened string) events.Event {
	return events.Event{
		Type: "token." + happened, SubjectID: t.UserID, Version: max(t.Version, 1),
		Payload: &usersv1.Token{Id: t.ID, UserId: t.UserID},
	}
}

// link is a row of links: one that was mailed.
type link struct {
	bun.BaseModel `bun:"table:links,alias:l"`

	UserID    int64     `bun:",pk"`
	Purpose   purpose   `bun:",pk"`
	Hash      []byte    // SHA-256 of the token in it
	Email     string    // where it was sent
	CreatedAt time.Time `bun:",nullzero,default:now()"`
	ExpiresAt time.Time
}

// signingKey is a row of signing_keys: the public half of a key.
type signingKey struct {
	bun.BaseModel `bun:"table:signing_keys,alias:k"`

	ID     string `bun:",pk"`
	Public []byte
	SeenAt time.Time
	HeldAt time.Time

	// Known is whether everybody knows it by now.
	Known bool `bun:",scanonly"`
}

// identity is a row of identities: whom a subject of the provider is.
type identity struct {
	bun.BaseModel `bun:"table:identities,alias:i"`

	Issuer    string `bun:",pk"`
	Subject   string `bun:",pk"`
	UserID    int64
	CreatedAt time.Time
}

// signIn is a row of sign_ins: a browser that is on its way to the provider and back.
type signIn struct {
	bun.BaseModel `bun:"table:sign_ins"`

	Hash        []byte `bun:",pk"` // SHA-256 of the state
	BrowserHash []byte // of what the browser must come back with
	Nonce       string
	Verifier    string // of our challenge to the provider
	Challenge   string // of the app's to us
	RedirectURI string `bun:"redirect_uri"`
	ExpiresAt   time.Time
}

// signInCode is a row of sign_in_codes: what the provider said, until the app asks for it.
type signInCode struct {
	bun.BaseModel `bun:"table:sign_in_codes"`

	Hash          []byte `bun:",pk"` // SHA-256 of the code
	Challenge     string
	Subject       string
	Email         string
	EmailVerified bool
	Name          string
	ExpiresAt     time.Time
}

// reset is that somebody asked for a link to set a password.
type reset struct {
	bun.BaseModel `bun:"table:resets,alias:r"`

	ID          int64 `bun:",pk,autoincrement"`
	Email       string
	Traceparent string `bun:",nullzero"` // the trace of who asked
}

// event is a row of events, as the audit trail reads it.
type event struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	ID         int64 `bun:",pk"`
	OccurredAt time.Time
	Type       string
	SubjectID  int64
	ActorID    int64 `bun:",nullzero"`
	Payload    []byte
}

// eventOrders are the orders of the audit trail.
func eventOrders() page.List[*event] {
	return page.List[*event]{{Name: "id", Expr: "e.id", Kind: page.Int, Value: func(e *event) any { return e.ID }}}
}

// protos maps rows to messages.
func protos(users []*user, c *auth.Caller) []*usersv1.User {
	out := make([]*usersv1.User, 0, len(users))
	for _, u := range users {
		out = append(out, u.proto(c))
	}
	return out
}

// pageInfo says where a page lies.
func pageInfo[T any](p page.Page[T]) *pagev1.PageInfo {
	return &pagev1.PageInfo{
		Cursors: p.Cursors, HasNext: p.HasNext, HasPrevious: p.HasPrevious, TotalCount: p.Total,
	}
}
