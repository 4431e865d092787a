// Package relay holds the Go types of what Relay asks of a schema: global ids and connections.
package relay

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"github.com/trackway/trackway/services/platform/errs"
)

// The types that global ids name.
const (
	User       = "User"
	Project    = "Project"
	Member     = "Member"
	Task       = "Task"
	Comment    = "Comment"
	Token      = "PersonalAccessToken"
	Invitation = "Invitation"
)

// ID is a value of the GraphQL type ID: a global id, or the plain integer that the REST API uses.
type ID struct { //nolint:recvcheck // a value, but for the one method that fills it
	Type string // empty for a plain integer
	Key  int64
}

// String is the global id, in letters that need no escape in a URL.
func (id ID) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(id.Type + ":" + strconv.FormatInt(id.Key, 10)))
}

// Of gives the key if the id is one of the type, or plain.
func (id ID) Of(typ string) (key int64, ok bool) {
	return id.Key, id.Type == typ || id.Type == ""
}

// ParseID reads a global id or a plain integer.
func ParseID(s string) (ID, error) {
	if key, ok := parseKey(s); ok {
		return ID{Key: key}, nil
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err == nil {
		typ, digits, _ := strings.Cut(string(text), ":")
		switch typ {
		case User, Project, Member, Task, Comment, Token, Invitation:
			if key, ok := parseKey(digits); ok {
				return ID{typ, key}, nil
			}
		}
	}
	return ID{}, errs.New(errs.Invalid, "This is neither a global id nor a positive integer.")
}

// parseKey reads a positive integer in its one spelling, so that a thing has one global id.
func parseKey(s string) (int64, bool) {
	key, err := strconv.ParseInt(s, 10, 64)
	return key, err == nil && key > 0 && strconv.FormatInt(key, 10) == s
}

// MarshalGQL writes the global id.
func (id ID) MarshalGQL(w io.Writer) { graphql.MarshalString(id.String()).MarshalGQL(w) }

// UnmarshalGQL reads a global id or an integer.
func (id *ID) UnmarshalGQL(v any) error {
	var err error
	switch v := v.(type) {
	case string:
		*id, err = ParseID(v)
	case int64:
		*id, err = ParseID(strconv.FormatInt(v, 10))
	default:
		err = errs.New(errs.Invalid, "An id is a string or an integer.")
	}
	return err
}
