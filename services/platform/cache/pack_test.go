package cache_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/trackway/trackway/services/platform/cache"
)

// Another reader of gzip, the standard library's, finds all of it, as one member: browsers read no more than the first.
func TestWhatIsPackedCanBeReadAndExtended(t *testing.T) {
	t.Parallel()
	p := cache.NewPacker()
	for _, kept := range []string{"", "a", `{"data":` + strings.Repeat(`{"title":"Learn the API"},`, 5000)} {
		packed := p.Pack([]byte(kept[:len(kept)/2]), []byte(kept[len(kept)/2:]))
		if got, err := p.Unpack(packed); err != nil || string(got) != kept {
			t.Errorf("unpacked: got %d bytes and %v, want %d", len(got), err, len(kept))
		}
		for _, more := range []string{"", "}", `,"extensions":{}}`, strings.Repeat("much more ", 20_000)} {
			extended, ok := cache.Extend([]byte("before"), packed, []byte(more))
			rest, begins := bytes.CutPrefix(extended, []byte("before"))
			if !ok || !begins {
				t.Fatalf("got %.20q and %t, want what was there and the gzip", extended, ok)
			}
			r, err := gzip.NewReader(bytes.NewReader(rest))
			if err != nil {
				t.Fatal(err)
			}
			r.Multistream(false)
			if got, err := io.ReadAll(r); err != nil || string(got) != kept+more {
				t.Errorf("%d bytes and %d more: got %d and %v", len(kept), len(more), len(got), err)
			}
		}
	}
	for _, strange := range []string{"", "x", strings.Repeat("x", 100)} {
		if _, ok := cache.Extend(nil, []byte(strange), nil); ok {
			t.Errorf("%q: got an extension of what is no gzip", strange)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	p := cache.NewPacker()
	f.Add([]byte{})
	f.Add(p.Pack([]byte("hello")))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := p.Unpack(b)
		if err != nil {
			return
		}
		if again, err := p.Unpack(p.Pack(got)); err != nil || !bytes.Equal(again, got) {
			t.Errorf("packed again: got %q and %v, want %q", again, err, got)
		}
	})
}
