package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// Packer packs what is kept, once for all who get it: as gzip (RFC 1952), which every client that takes compressed
// answers knows.
type Packer struct{ writers, readers sync.Pool }

// NewPacker makes a packer.
func NewPacker() *Packer {
	return &Packer{
		writers: sync.Pool{New: func() any {
			w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
			if err != nil {
				panic(err) // the level is a constant
			}
			return w
		}},
		readers: sync.Pool{New: func() any { return new(gzip.Reader) }},
	}
}

// Pack gives the parts, one after the other, as gzip that Extend can make longer.
func (p *Packer) Pack(parts ...[]byte) []byte {
	var b bytes.Buffer
	w, _ := p.writers.Get().(*gzip.Writer)
	defer p.writers.Put(w)
	w.Reset(&b)
	for _, part := range parts {
		_, _ = w.Write(part) // a buffer in memory takes everything
	}
	_ = w.Flush() // so that the last block, which is empty, begins with a byte
	_ = w.Close()
	return bytes.Clone(b.Bytes()) // without the room to grow
}

// Unpack gives what was packed.
func (p *Packer) Unpack(packed []byte) ([]byte, error) {
	r, _ := p.readers.Get().(*gzip.Reader)
	defer p.readers.Put(r)
	if err := r.Reset(bytes.NewReader(packed)); err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	// As long as it says it is, unless that can not be: then it has to grow.
	const most, least = 64, 4 // times
	size := int(binary.LittleEndian.Uint32(packed[len(packed)-4:]))
	var b bytes.Buffer
	b.Grow(max(least*len(packed), min(size+bytes.MinRead, most*len(packed))))
	if _, err := b.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	return b.Bytes(), nil
}

// What Pack ends with: two blocks with nothing in them, the first of which ends with a byte, and the sum and length of all
// that was packed.
const (
	flushed   = "\x00\x00\xff\xff"
	lastBlock = "\x03\x00"
	trailer   = 8
)

// Extend appends to b the gzip of what Pack has packed, and more behind it that is not compressed: what differs each time
// need not be packed with what stays. It is not ok if the gzip is not one of Pack's.
func Extend(b, packed, more []byte) (_ []byte, ok bool) {
	end := len(packed) - trailer - len(lastBlock)
	if end < len(flushed) || string(packed[end-len(flushed):end+len(lastBlock)]) != flushed+lastBlock {
		return b, false
	}
	sum := binary.LittleEndian.Uint32(packed[end+len(lastBlock):])
	size := binary.LittleEndian.Uint32(packed[end+len(lastBlock)+4:])
	sum, size = crc32.Update(sum, crc32.IEEETable, more), size+uint32(len(more)) // modulo 2^32, as RFC 1952 has it
	b = append(b, packed[:end]...)
	for len(more) > 0 { // blocks that are stored: RFC 1951, section 3.2.4
		block := more[:min(len(more), math.MaxUint16)]
		more = more[len(block):]
		n := uint16(len(block))
		b = append(b, 0)
		b = binary.LittleEndian.AppendUint16(b, n)
		b = binary.LittleEndian.AppendUint16(b, ^n)
		b = append(b, block...)
	}
	b = append(b, lastBlock...)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return binary.LittleEndian.AppendUint32(b, size), true
}
