package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a bolt file's meta page: a page header, then the meta, in the
// machine's byte order.
const (
	boltHeader   = 16
	boltMagic    = 0xED0CDAED
	boltMetaSize = 64
	boltSumAt    = 56
	boltMinPage  = 1 << 10
	boltMaxPage  = 16 << 20
)

// checkBolt compares a bolt file's size with what its meta pages say. bbolt
// rebuilds its list of free pages from a map of the whole file, in a goroutine
// of its own: on a truncated file that goroutine panics, out of anybody's reach.
func checkBolt(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("measure %s: %w", path, err)
	}
	if info.Size() == 0 {
		return nil // bolt makes it anew; nothing was ever written
	}
	need, ok := boltNeeds(f, info.Size())
	switch {
	case !ok:
		return fmt.Errorf("%s is damaged: no valid meta page. %s", path, startAfresh)
	case info.Size() < need:
		return fmt.Errorf("%s is truncated: %d bytes of at least %d. %s", path, info.Size(), need, startAfresh)
	}
	return nil
}

// boltNeeds is the size that the newest valid meta page implies.
func boltNeeds(f io.ReaderAt, size int64) (need int64, ok bool) {
	first, ok := readMeta(f, 0)
	best, found := first, ok
	// The second page begins where the first ends; when the first is damaged its
	// size is not known.
	for page := int64(boltMinPage); page <= boltMaxPage && page < size; page *= 2 {
		if ok && page != first.pageSize {
			continue
		}
		if m, valid := readMeta(f, page); valid && m.pageSize == page && (!found || m.txid > best.txid) {
			best, found = m, true
		}
	}
	return best.pages * best.pageSize, found
}

// boltMeta is what is needed of a meta page.
type boltMeta struct {
	pageSize int64
	pages    int64 // the high-water mark: pages in use are below it
	txid     uint64
}

func readMeta(f io.ReaderAt, at int64) (boltMeta, bool) {
	var buf [boltHeader + boltMetaSize]byte
	if _, err := f.ReadAt(buf[:], at); err != nil {
		return boltMeta{}, false
	}
	m := buf[boltHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:boltSumAt])
	order := binary.NativeEndian
	if order.Uint32(m) != boltMagic || order.Uint64(m[boltSumAt:]) != sum.Sum64() {
		return boltMeta{}, false
	}
	out := boltMeta{
		pageSize: int64(order.Uint32(m[8:])),
		pages:    int64(order.Uint64(m[40:])), //nolint:gosec // bounded below
		txid:     order.Uint64(m[48:]),
	}
	if out.pageSize < boltMinPage || out.pageSize > boltMaxPage || out.pages < 0 || out.pages > 1<<40/out.pageSize*1024 {
		return boltMeta{}, false
	}
	return out, true
}
