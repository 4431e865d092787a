package graph

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json"
	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// persistedQuery is the extension of a request in which Apollo's protocol has the hash.
const persistedQuery = "persistedQuery"

// Codes of the errors about documents that are sent by their hash or id. Clients of Apollo's protocol know the first
// two, and their messages.
const (
	codeNotFound     = "PERSISTED_QUERY_NOT_FOUND"
	codeNotSupported = "PERSISTED_QUERY_NOT_SUPPORTED"
	codeMismatch     = "PERSISTED_QUERY_HASH_MISMATCH"
	codeNotTrusted   = "DOCUMENT_NOT_TRUSTED"
)

// Store keeps persisted queries by the SHA-256 of their text, in lower-case hex. It may forget them: a client then
// sends the text again. What it gives is compared with its hash, so that a store shared by many needs no trust.
type Store interface {
	Get(ctx context.Context, hash string) (query string, found bool, err error)
	Put(ctx context.Context, hash, query string) error
}

// document finds the document of a request, which may be sent by text, by hash (Apollo's automatic persisted queries)
// or by the id of a trusted document (the specification's Persisted Documents). keep stores a text that was sent with
// its hash; it is to be called when the document is known to be a good one.
func (s *server) document(
	ctx context.Context, p parameters,
) (raw *graphql.RawParams, keep func(context.Context), refusal *gqlerror.Error) {
	raw = &graphql.RawParams{OperationName: p.OperationName, Variables: p.Variables, Extensions: p.Extensions}
	keep = func(context.Context) {}
	if p.DocumentID != nil {
		raw.Query, refusal = s.trustedDocument(*p.DocumentID, p.Query)
		return raw, keep, refusal
	}
	hash, refusal := persistedHash(p.Extensions)
	switch {
	case refusal != nil:
		return nil, nil, refusal
	case p.Query == nil:
		raw.Query, refusal = s.persisted(ctx, hash)
		return raw, keep, refusal
	case hash != "" && sum(*p.Query) != hash:
		return nil, nil, refused(nil, codeMismatch, "The hash is not that of the query.")
	case s.cfg.OnlyDocuments && s.trusted[sum(*p.Query)] == "":
		return nil, nil, refused(nil, codeNotTrusted, "Only documents that were registered beforehand are executed here.")
	case hash != "" && !s.cfg.OnlyDocuments:
		keep = func(ctx context.Context) {
			if err := s.cfg.Persisted.Put(ctx, hash, *p.Query); err != nil {
				s.cfg.Log.WarnContext(ctx, "persisted query not stored", "error", err)
			}
		}
	}
	raw.Query = *p.Query
	return raw, keep, nil
}

// trustedDocument is that with an id, which may be a hash with or without its prefix.
func (s *server) trustedDocument(id string, query *string) (string, *gqlerror.Error) {
	if query != nil {
		return "", refused(nil, codeInvalid, "Send the query or a documentId, not both.")
	}
	text, ok := s.cfg.Documents[id]
	if !ok {
		text, ok = s.trusted[strings.TrimPrefix(id, "sha256:")]
	}
	if !ok {
		return "", refused(nil, codeNotFound, "There is no document with this id.")
	}
	return text, nil
}

// persisted is the query with a hash.
func (s *server) persisted(ctx context.Context, hash string) (string, *gqlerror.Error) {
	if text, ok := s.trusted[hash]; ok {
		return text, nil
	}
	if s.cfg.OnlyDocuments {
		return "", refused(nil, codeNotSupported, "PersistedQueryNotSupported")
	}
	text, ok, err := s.cfg.Persisted.Get(ctx, hash)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "persisted query not read", "error", err) // the client sends the text again
	}
	if err != nil || !ok || sum(text) != hash {
		return "", refused(nil, codeNotFound, "PersistedQueryNotFound")
	}
	return text, nil
}

// persistedHash is the hash of a request in Apollo's protocol; empty if it is none.
func persistedHash(extensions map[string]any) (string, *gqlerror.Error) {
	given := extensions[persistedQuery]
	if given == nil {
		return "", nil
	}
	p, _ := given.(map[string]any)
	hash, isText := p["sha256Hash"].(string)
	if version, ok := p["version"].(int64); !ok || version != 1 {
		return "", refused(nil, codeNotSupported, "PersistedQueryNotSupported")
	}
	if b, err := hex.DecodeString(hash); !isText || err != nil || len(b) != sha256.Size {
		return "", refused(nil, codeInvalid, "The sha256Hash must be 64 hexadecimal digits.")
	}
	return strings.ToLower(hash), nil
}

// sum is the SHA-256 of a text, in lower-case hex.
func sum(text string) string {
	b := sha256.Sum256([]byte(text))
	return hex.EncodeToString(b[:])
}

// maxPersisted is how long the persisted queries in memory may be, in bytes and together.
const maxPersisted = 8 << 20

// memory is a Store of one replica. The least recently used go first.
type memory struct {
	mu    sync.Mutex
	bytes int
	kept  *lru.LRU[string, string]
}

func newMemory() *memory {
	m := &memory{}
	kept, err := lru.NewLRU(maxPersisted, func(_, query string) { m.bytes -= len(query) })
	if err != nil {
		panic(err) // only a size below one
	}
	m.kept = kept
	return m
}

// Get gives a query that is kept.
func (m *memory) Get(_ context.Context, hash string) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	query, ok := m.kept.Get(hash)
	return query, ok, nil
}

// Put keeps a query.
func (m *memory) Put(_ context.Context, hash, query string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept.Contains(hash) {
		return nil
	}
	m.kept.Add(hash, query)
	m.bytes += len(query)
	for m.bytes > maxPersisted {
		m.kept.RemoveOldest()
	}
	return nil
}

// LoadDocuments reads trusted documents. The path is that of a folder of .graphql files, whose ids are "sha256:" and
// the hash of their text; or of a JSON file that a compiler wrote: an object of texts by id, as by relay-compiler and
// graphql-codegen, or Apollo's manifest of persisted queries.
func LoadDocuments(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("trusted documents: %w", err)
	}
	documents := make(map[string]string)
	if info.IsDir() {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(name) != ".graphql" {
				return err
			}
			text, err := os.ReadFile(name) //nolint:gosec // the operator names the folder
			documents["sha256:"+sum(string(text))] = string(text)
			return err //nolint:wrapcheck // wrapped below
		})
		return documents, wrap(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, wrap(err)
	}
	var apollo struct {
		Format     string `json:"format"`
		Operations []struct {
			ID   string `json:"id"`
			Body string `json:"body"`
		} `json:"operations"`
	}
	if err := json.Unmarshal(text, &apollo); err == nil && apollo.Format != "" {
		for _, op := range apollo.Operations {
			documents[op.ID] = op.Body
		}
	} else if err := json.Unmarshal(text, &documents); err != nil {
		return nil, wrap(err)
	}
	return documents, nil
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("trusted documents: %w", err)
}
