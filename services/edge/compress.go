package edge

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/cache"
)

const (
	contentEncoding = "Content-Encoding"
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
		{packed, &sync.Pool{New: func() any { return gzip.NewWriter(nil) }}},
	}
}

// compress answers in the coding that the client likes best. The ETag names the thing and not its coding, so one that
// came with a compressed answer holds in If-Match. Only whole answers are compressed: those that know their length.
// Secrets are not, as their length would tell of them. What comes encoded already stays as it is.
func compress(next http.Handler) http.Handler {
	codings := newCodings()
	const usual = "gzip" // what most programs send that are no browsers
	var (
		usually         = []string{usual}
		usualCoding, ok = choose(codings, usually)
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accepted := r.Header["Accept-Encoding"]
		c, gzip := usualCoding, ok
		if !slices.Equal(accepted, usually) {
			c, gzip = choose(codings, accepted)
		}
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		exchangeOf(r.Context()).gzip = gzip
		p := &compressed{ResponseWriter: w, coding: c}
		next.ServeHTTP(p, r)
		p.finish()
	})
}

// choose is nil when the client wants no coding of ours (RFC 9110, section 12.5.3). It also tells whether the client likes
// gzip as well as that.
func choose(codings []coding, accepted []string) (best *coding, gzip bool) {
	if len(accepted) == 0 {
		return nil, false
	}
	qualities := make(map[string]float64)
	for _, list := range accepted {
		for one := range strings.SplitSeq(list, ",") {
			name, params, _ := strings.Cut(one, ";")
			qualities[strings.ToLower(strings.TrimSpace(name))] = rest.Quality(params)
		}
	}
	quality := func(name string) float64 {
		if q, named := qualities[name]; named {
			return q
		}
		return qualities["*"]
	}
	highest := 0.0
	for i := range codings {
		if q := quality(codings[i].name); q > highest {
			best, highest = &codings[i], q
		}
	}
	if identity, named := qualities["identity"]; named && identity > highest {
		return nil, false
	}
	return best, best != nil && quality(packed) == highest
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
		h.Get(contentEncoding) == "" && h.Get("Content-Range") == "" && h.Get("Cache-Control") != "no-store" &&
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
	c.Header().Set(contentEncoding, c.coding.name)
	c.Header().Set("Content-Length", strconv.Itoa(c.whole.Len()))
	c.ResponseWriter.WriteHeader(c.status)
	_, _ = c.ResponseWriter.Write(c.whole.Bytes()) // a client that has gone need not be told
}

// packed is the coding in which answers are kept.
const packed = "gzip"

// pack makes an answer that is kept smaller, if that is worth it.
func pack(p *cache.Packer, a *cache.Answer) {
	h := make(http.Header, len(a.Header)/2) //nolint:mnd // name and value
	for i := 0; i < len(a.Header); i += 2 {
		h[a.Header[i]] = a.Header[i+1 : i+2 : i+2]
	}
	if !worthwhile(h, http.StatusOK) {
		a.Body = bytes.Clone(a.Body) // without the room to grow
		return
	}
	a.Body = p.Pack(a.Body)
	for i := 0; i < len(a.Header); i += 2 {
		if a.Header[i] == "Content-Length" {
			a.Header[i+1] = strconv.Itoa(len(a.Body))
		}
	}
	a.Header = append(a.Header, contentEncoding, packed)
}
