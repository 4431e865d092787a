package cache

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Answer is what is kept: the bytes to send.
type Answer struct {
	// Scope is for the one who asks: what the caller must be allowed to see to get the answer, such as a project.
	Scope int64
	// Header are names and values, one after the other.
	Header []string
	Body   []byte
}

// entry is an answer with what it depends on.
type entry struct {
	Answer

	epoch    string // of the leases under which it was kept
	tags     []string
	versions []string // of the tags, as they were before the answer was made
}

// size is about what the entry takes, in bytes.
func (e *entry) size() int {
	const overhead = 200
	n := overhead + len(e.Body) + len(e.epoch)
	for _, list := range [][]string{e.Header, e.tags, e.versions} {
		for _, s := range list {
			n += len(s) + 16 //nolint:mnd // a string's header
		}
	}
	return n
}

// format is the first byte of an entry in Redis: another one is not read.
const format = 2

// encode writes the entry for Redis.
func (e *entry) encode() []byte {
	b := make([]byte, 0, e.size())
	b = append(b, format)
	b = binary.AppendVarint(b, e.Scope)
	for _, list := range [][]string{{e.epoch}, e.tags, e.versions, e.Header} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return append(b, e.Body...)
}

var errEntry = errors.New("what Redis has is no entry")

// decode reads what encode wrote.
func decode(s string) (*entry, error) {
	b := []byte(s)
	if len(b) == 0 || b[0] != format {
		return nil, errEntry
	}
	b = b[1:]
	e := &entry{}
	scope, n := binary.Varint(b)
	if n <= 0 {
		return nil, errEntry
	}
	b, e.Scope = b[n:], scope
	var epoch []string
	for _, list := range []*[]string{&epoch, &e.tags, &e.versions, &e.Header} {
		var ok bool
		if *list, b, ok = decodeList(b); !ok {
			return nil, errEntry
		}
	}
	if len(epoch) != 1 || len(e.tags) != len(e.versions) || len(e.Header)%2 != 0 {
		return nil, errEntry
	}
	e.epoch, e.Body = epoch[0], b
	return e, nil
}

func decodeList(b []byte) (list []string, rest []byte, ok bool) {
	many, n := binary.Uvarint(b)
	if n <= 0 || many > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[n:]
	list = make([]string, 0, many)
	for range many {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, nil, false
		}
		list = append(list, string(b[n:n+int(size)]))
		b = b[n+int(size):]
	}
	return list, b, true
}

// current reports whether these are the versions under which the entry was kept.
func (e *entry) current(epoch string, versions []string) bool {
	return e.epoch == epoch && slices.Equal(e.versions, versions)
}
