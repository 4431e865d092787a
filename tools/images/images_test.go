package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// An image is one program of root's that another user runs, and nothing else; and whoever builds it gets the same bytes.
func TestAnImageHoldsAProgramAndIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	o := options{Registry: "registry.example.com/team", Arch: "arm64", Out: t.TempDir()}
	p := program{"users", "Accounts"}
	if err := os.MkdirAll(filepath.Join(o.Out, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Out, "bin", p.name), []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := source{version: "v1", revision: "abc", date: time.Unix(1_700_000_000, 0).UTC()}
	var archives [][]byte
	var made image
	for range 2 {
		var err error
		if made, err = pack(o, p, src); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(made.archive)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, text)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the second image differs from the first")
	}

	files := unpack(t, archives[0])
	var list []dockerImage
	decode(t, files["manifest.json"], &list)
	var cfg config
	decode(t, files[list[0].Config], &cfg)
	if diff := cmp.Diff(list[0].RepoTags, []string{made.ref}); diff != "" {
		t.Errorf("tags (-got +want):\n%s", diff)
	}
	got := []string{cfg.OS, cfg.Architecture, cfg.Config.User, cfg.Config.Entrypoint[0], cfg.Config.Labels["org.opencontainers.image.revision"]}
	if diff := cmp.Diff(got, []string{"linux", "arm64", "10001:10001", "/users", "abc"}); diff != "" {
		t.Errorf("configuration (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(unpack(t, files[list[0].Layers[0]]), map[string][]byte{"users": []byte("program")}); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}
	var found index
	decode(t, files["index.json"], &found)
	if got := found.Manifests[0].Digest; got != made.digest || files["blobs/sha256/"+got[len("sha256:"):]] == nil {
		t.Errorf("the index names %s, want %s, which is there", got, made.digest)
	}
}

func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // it is never wrapped
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
