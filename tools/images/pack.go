package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/go-json-experiment/json"
)

// The image runs as this user and group, which no system gives to a person or a service.
const owner = "10001:10001"

func arch() string { return runtime.GOARCH }

// The forms of https://github.com/opencontainers/image-spec, as far as they are needed here.
//
//nolint:tagliatelle // the names are the specification's, and Docker's
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	config struct {
		Created      time.Time `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       struct {
			User       string            `json:"User"`
			Entrypoint []string          `json:"Entrypoint"`
			WorkingDir string            `json:"WorkingDir"`
			Labels     map[string]string `json:"Labels"`
		} `json:"config"`
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []step `json:"history"`
	}
	step struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	// dockerImage is an entry of manifest.json, which `docker load` reads instead of the index.
	dockerImage struct {
		Config   string   `json:"Config"`
		RepoTags []string `json:"RepoTags"`
		Layers   []string `json:"Layers"`
	}
)

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// image is one that was built.
type image struct {
	archive, ref, tag, digest string
	size                      int64
}

// pack writes the archive of a compiled program's image.
func pack(o options, p program, src source) (image, error) {
	binary, err := os.ReadFile(filepath.Join(o.Out, "bin", p.name))
	if err != nil {
		return image{}, err
	}
	layer, err := archive(src.date, file{p.name, 0o555, binary})
	if err != nil {
		return image{}, err
	}
	if len(layer) > mostBytes {
		return image{}, fmt.Errorf("the image has %d bytes, and must have at most %d", len(layer), mostBytes)
	}
	cfg := config{Created: src.date, Architecture: o.Arch, OS: "linux"}
	cfg.Config.User, cfg.Config.Entrypoint, cfg.Config.WorkingDir = owner, []string{"/" + p.name}, "/"
	cfg.Config.Labels = labels(p, src)
	cfg.RootFS.Type, cfg.RootFS.DiffIDs = "layers", []string{digest(layer)}
	cfg.History = []step{{src.date, "FROM scratch; COPY " + p.name + " /" + p.name}}
	configJSON, err := marshal(cfg)
	if err != nil {
		return image{}, err
	}
	manifestJSON, err := marshal(manifest{
		SchemaVersion: 2, MediaType: manifestType,
		Config: describes(configType, configJSON), Layers: []descriptor{describes(layerType, layer)},
	})
	if err != nil {
		return image{}, err
	}
	made := image{
		archive: filepath.Join(o.Out, p.name+".tar"),
		tag:     src.version + "-" + digest(configJSON)[len("sha256:"):][:12],
		digest:  digest(manifestJSON), size: int64(len(layer)),
	}
	made.ref = o.Registry + "/" + p.name + ":" + made.tag
	files, err := layout(made.ref, layer, configJSON, manifestJSON)
	if err != nil {
		return image{}, err
	}
	whole, err := archive(src.date, files...)
	if err != nil {
		return image{}, err
	}
	return made, os.WriteFile(made.archive, whole, 0o644) //nolint:gosec // no secret
}

func labels(p program, src source) map[string]string {
	all := map[string]string{
		"title": "Trackway " + p.name, "description": p.does, "licenses": "Apache-2.0", "vendor": "Trackway",
		"source": "https://github.com/trackway/trackway", "version": src.version,
		"created": src.date.Format(time.RFC3339),
	}
	if src.revision != "" {
		all["revision"] = src.revision
	}
	named := make(map[string]string, len(all))
	for name, value := range all {
		named["org.opencontainers.image."+name] = value
	}
	return named
}

// layout is the content of an archive that container engines import, by whichever of the two lists they know.
func layout(ref string, layer, configJSON, manifestJSON []byte) ([]file, error) {
	entry := describes(manifestType, manifestJSON)
	entry.Annotations = map[string]string{"io.containerd.image.name": ref}
	indexJSON, err := marshal(index{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{entry}})
	if err != nil {
		return nil, err
	}
	dockerJSON, err := marshal([]dockerImage{{blob(configJSON), []string{ref}, []string{blob(layer)}}})
	if err != nil {
		return nil, err
	}
	return []file{
		{"oci-layout", 0o444, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o444, indexJSON},
		{"manifest.json", 0o444, dockerJSON},
		{blob(configJSON), 0o444, configJSON},
		{blob(manifestJSON), 0o444, manifestJSON},
		{blob(layer), 0o444, layer},
	}, nil
}

type file struct {
	name string
	mode int64
	data []byte
}

// archive is a tar archive of files of root's, all of one date.
func archive(date time.Time, files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: date, Format: tar.FormatUSTAR,
		})
		_, err2 := w.Write(f.data)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.name, err)
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func marshal(v any) ([]byte, error) { return json.Marshal(v, json.Deterministic(true)) }

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func describes(mediaType string, b []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(b), Size: len(b)}
}

func blob(b []byte) string { return "blobs/sha256/" + digest(b)[len("sha256:"):] }
