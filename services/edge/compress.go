package edge

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/trackway/trackway/services/edge/rest"
)

const (
	// compressFrom is the least size that is worth it, in bytes: below it, an answer is one packet either way.
	compressFrom = 1024
	// brotliLevel is where it still costs about what gzip costs.
	brotliLevel = 4
	// zstdWindow is what a client must keep in memory at most (RFC 9659 allows 8 MiB).
	zstdWindow = 128 << 10
)

// encoder is what the three codings have in common.
type encoder interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// coding is a content coding (RFC 9110, section 8.4.1).
type coding struct {
	name     string
	encoders *sync.Pool
}

// newCodings lists the codings, the cheapest for its gain first.
func newCodings() []coding {
	return []coding{
		{"zstd", &sync.Pool{New: func() any {
			e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
			if err != nil {
				panic(err) // the options are constants
			}
			return e
		}}},
		{"br", &sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, brotliLevel) }}},
		{"gzip", &sync.Pool{New: func() any { return gzip.NewWriter(nil) }}},
	}
}

// compress answers in the coding that the client likes best. The ETag names the thing and not its coding, so one that
// came with a compressed answer holds in If-Match. Only whole answers are compressed: those that know their length.
// Secrets are not, as their length would tell of them.
func compress(next http.Handler) http.Handler {
	codings := newCodings()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := choose(codings, r.Header["Accept-Encoding"])
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		p := &compressed{ResponseWriter: w, coding: c}
		next.ServeHTTP(p, r)
		p.finish()
	})
}

// choose is nil when the client wants no coding of ours (RFC 9110, section 12.5.3).
func choose(codings []coding, accepted []string) *coding {
	if len(accepted) == 0 {
		return nil
	}
	qualities := make(map[string]float64)
	for _, list := range accepted {
		for one := range strings.SplitSeq(list, ",") {
			name, params, _ := strings.Cut(one, ";")
			qualities[strings.ToLower(strings.TrimSpace(name))] = rest.Quality(params)
		}
	}
	var (
		best    *coding
		highest float64
	)
	for i := range codings {
		q, named := qualities[codings[i].name]
		if !named {
			q = qualities["*"]
		}
		if q > highest {
			best, highest = &codings[i], q
		}
	}
	if identity, named := qualities["identity"]; named && identity > highest {
		return nil
	}
	return best
}

// compressed is an answer that is compressed if it is whole, large enough and text.
type compressed struct {
	http.ResponseWriter

	coding  *coding
	begun   bool
	whole   *bytes.Buffer // what is compressed so far; nil when the answer passes as it is
	encoder encoder
	status  int
}

// Unwrap lets http.ResponseController through.
func (c *compressed) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader decides by the headers.
func (c *compressed) WriteHeader(status int) {
	if c.begun {
		return
	}
	if status < http.StatusOK { // an answer is still to come
		c.ResponseWriter.WriteHeader(status)
		return
	}
	c.begun = true
	if !worthwhile(c.Header(), status) {
		c.ResponseWriter.WriteHeader(status)
		return
	}
	c.status = status
	c.whole = new(bytes.Buffer)
	c.encoder, _ = c.coding.encoders.Get().(encoder)
	c.encoder.Reset(c.whole)
}

func worthwhile(h http.Header, status int) bool {
	length, err := strconv.Atoi(h.Get("Content-Length"))
	media := h.Get("Content-Type")
	return err == nil && length >= compressFrom && status != http.StatusNoContent && status != http.StatusNotModified &&
		h.Get("Content-Encoding") == "" && h.Get("Content-Range") == "" && h.Get("Cache-Control") != "no-store" &&
		(strings.Contains(media, "json") || strings.Contains(media, "yaml") || strings.HasPrefix(media, "text/"))
}

// Write compresses, or passes on.
func (c *compressed) Write(b []byte) (int, error) {
	if !c.begun {
		c.WriteHeader(http.StatusOK)
	}
	if c.whole == nil {
		return c.ResponseWriter.Write(b) //nolint:wrapcheck // as if this layer were not there
	}
	return c.encoder.Write(b) //nolint:wrapcheck // the same
}

// finish sends what was compressed. After a panic nobody calls it, and the client sees that the answer broke off.
func (c *compressed) finish() {
	if c.whole == nil {
		return
	}
	_ = c.encoder.Close() // a buffer in memory takes everything
	c.encoder.Reset(nil)
	c.coding.encoders.Put(c.encoder)
	c.Header().Set("Content-Encoding", c.coding.name)
	c.Header().Set("Content-Length", strconv.Itoa(c.whole.Len()))
	c.ResponseWriter.WriteHeader(c.status)
	_, _ = c.ResponseWriter.Write(c.whole.Bytes()) // a client that has gone need not be told
}
