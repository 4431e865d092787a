package rest

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trackway/trackway/services/platform/errs"
)

const (
	jsonType  = "application/json"
	patchType = "application/merge-patch+json"
)

// formats is how huma reads and writes bodies: JSON as in RFC 8259 and I-JSON (RFC 7493), which leaves no doubt about
// what a text means. A name given twice, text behind the value, a name that is not known or in another case, and what
// is not UTF-8 are all refused.
func formats() map[string]huma.Format {
	f := huma.Format{
		Marshal:   marshal,
		Unmarshal: unmarshal,
	}
	return map[string]huma.Format{jsonType: f, problemType: f}
}

func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return describe(err)
	}
	return nil
}

// describe puts an error of the decoder into words for the caller: the pointer, a space, what is wrong there.
func describe(err error) error {
	var (
		at     jsontext.Pointer
		detail = "is not valid JSON"
		syntax *jsontext.SyntacticError
		kind   *json.SemanticError
		ours   *valueError
	)
	switch {
	case errors.As(err, &syntax):
		at = syntax.JSONPointer
		if errors.Is(err, jsontext.ErrDuplicateName) {
			detail = "is given twice"
		}
	case errors.As(err, &kind):
		at = kind.JSONPointer
		switch {
		case errors.As(err, &ours):
			detail = ours.detail
		case errors.Is(err, json.ErrUnknownName):
			detail = unknownField
		case kind.JSONKind == jsontext.KindNumber:
			detail = "is a number out of range or not an integer"
		default:
			detail = "has the wrong type"
		}
	}
	return errors.New("#" + escapePointer(strings.ToValidUTF8(string(at), "\uFFFD")) + " " + detail)
}

// valueError is what a type of ours finds wrong with its value.
type valueError struct{ detail string }

func (e *valueError) Error() string { return e.detail }

// bodyType checks that we can read the body, by its headers (RFC 9110, sections 8.3 and 8.4).
func bodyType(h http.Header, accepted []string) error {
	if c := h.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		return errs.New(errs.UnsupportedMediaType, "The content coding %.100q is not supported; send the body as it is.", c)
	}
	switch sent := h.Get("Content-Type"); sent {
	case jsonType, "": // without one, it can only be JSON
		return nil
	default:
		media, params, err := mime.ParseMediaType(sent)
		charset, given := params["charset"]
		switch {
		case err != nil || !slices.Contains(accepted, media):
			return errs.New(errs.UnsupportedMediaType, "The media type of the body must be %s.",
				strings.Join(accepted, " or "))
		case given && !strings.EqualFold(charset, "utf-8"):
			return errs.New(errs.UnsupportedMediaType, "The charset of the body must be UTF-8.")
		}
		// huma looks at this header again, more loosely than we do.
		h.Set("Content-Type", jsonType)
		return nil
	}
}

// LimitBody refuses a body that is declared to be larger than limit, and makes every other fail when it turns out to
// be.
func LimitBody(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than reading on to find the next request
		return tooLarge(limit)
	}
	r.Body = &body{http.MaxBytesReader(w, r.Body, limit), limit}
	return nil
}

func tooLarge(limit int64) *errs.Error {
	return errs.New(errs.TooLarge, "A body may have at most %d bytes.", limit)
}

// body gives the errors of reading a body the words that the caller may see.
type body struct {
	io.ReadCloser

	limit int64
}

// Read reads some of the body.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var (
		large   *http.MaxBytesError
		network net.Error
	)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err //nolint:wrapcheck // readers compare io.EOF
	case errors.As(err, &large):
		return n, tooLarge(b.limit).Because(err)
	case errors.As(err, &network) && network.Timeout():
		return n, errs.New(errs.RequestTimeout, "The body took too long to arrive.").Because(err)
	default:
		return n, errs.New(errs.Invalid, "The body did not arrive whole.").Because(err)
	}
}
