package cache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What Redis has may come from another release, or from anybody who can write there: it is an entry, or an error.
func FuzzDecode(f *testing.F) {
	whole := &entry{
		Answer: Answer{Scope: -7, Header: []string{"Content-Type", "application/json"}, Body: []byte(`{"id":7}`)},
		epoch:  "epoch", tags: []string{"task:7", "access:1"}, versions: []string{"a", "b"},
	}
	f.Add(string(whole.encode()))
	f.Add(string((&entry{}).encode()))
	f.Add("")
	f.Add("\x01")
	f.Add("\x02\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := decode(s)
		if err != nil {
			return
		}
		again, err := decode(string(got.encode()))
		if err != nil {
			t.Fatalf("got %v for what was written anew", err)
		}
		if diff := cmp.Diff(again, got, cmp.AllowUnexported(entry{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("written anew (-got +want):\n%s", diff)
		}
	})
}
