package fsm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// A snapshot is the magic, a version, and records: a kind byte, the length of
// the body, the body. The last record holds how many came before it; after it
// stands the CRC-32C of everything before the sum, and then nothing.
const (
	snapshotMagic   = "flip-fsm"
	snapshotVersion = 1

	recordHeader  = 1
	recordMember  = 2
	recordSlot    = 3
	recordFailure = 4
	recordJournal = 5
	recordEnd     = 0xff

	// maxRecord bounds one record: the Spec of a million items takes about 60 MB.
	maxRecord = 1 << 30
)

// ErrDamaged is returned for a snapshot that is cut off or was altered.
var ErrDamaged = errors.New("snapshot is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write writes a snapshot. Equal States give equal bytes.
func (s *State) Write(w io.Writer) error {
	out := &snapshotWriter{w: bufio.NewWriter(w), sum: crc32.New(castagnoli)}
	out.enc = codec.NewEncoderBytes(&out.body, handle)
	out.raw(binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion))
	out.record(recordHeader, headerRecord{
		Cluster: s.cluster, Spec: s.spec.body(), Voters: s.voters, MaxTTL: s.maxTTL, Maintained: s.maintained, Keys: s.keys, Brakes: s.brakes,
	})
	for id, m := range s.Members() {
		out.record(recordMember, memberRecord{ID: id, Member: m})
	}
	s.slots.Root().Walk(func(_ []byte, slot *Slot) bool {
		out.record(recordSlot, slot)
		return out.err != nil
	})
	for id, f := range s.Failures() {
		out.record(recordFailure, failureRecord{ID: id, Failure: f})
	}
	for _, e := range s.Journal() {
		out.record(recordJournal, e)
	}
	out.record(recordEnd, endRecord{Records: out.records})
	out.raw(binary.BigEndian.AppendUint32(nil, out.sum.Sum32()))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("write snapshot: %w", out.err)
	}
	return nil
}

type snapshotWriter struct {
	w       *bufio.Writer
	enc     *codec.Encoder
	body    []byte
	sum     hash.Hash32
	records uint64
	err     error
}

func (w *snapshotWriter) raw(b []byte) {
	if w.err != nil {
		return
	}
	_, _ = w.sum.Write(b) // a hash never fails
	_, w.err = w.w.Write(b)
}

func (w *snapshotWriter) record(kind byte, v any) {
	if w.err != nil {
		return
	}
	w.body = w.body[:0]
	w.enc.ResetBytes(&w.body)
	if w.err = w.enc.Encode(v); w.err != nil {
		return
	}
	if len(w.body) > maxRecord {
		w.err = fmt.Errorf("a record of %d bytes is too long", len(w.body))
		return
	}
	w.raw(binary.AppendUvarint([]byte{kind}, uint64(len(w.body))))
	w.raw(w.body)
	w.records++
}

// Read reads a snapshot to its end. It answers with a State only if every byte
// is as Write wrote it; else with ErrDamaged, or that the version is unknown.
func Read(r io.Reader) (*State, error) {
	s, err := readSnapshot(&snapshotReader{r: bufio.NewReader(r), sum: crc32.New(castagnoli)})
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

func readSnapshot(in *snapshotReader) (*State, error) {
	head := make([]byte, len(snapshotMagic)+4)
	if err := in.full(head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("it is no snapshot of flip's: %w", ErrDamaged)
	}
	if v := binary.BigEndian.Uint32(head[len(snapshotMagic):]); v != snapshotVersion {
		return nil, fmt.Errorf("version %d is unknown, this program knows %d", v, snapshotVersion)
	}
	l := loader{change: New().begin(0), dec: codec.NewDecoderBytes(nil, handle), names: make(map[string]string)}
	for n := uint64(0); ; n++ {
		kind, body, err := in.record()
		if err != nil {
			return nil, err
		}
		if kind == recordEnd {
			if err := in.end(body, n); err != nil {
				return nil, err
			}
			break
		}
		if err := l.load(kind, body); err != nil {
			return nil, fmt.Errorf("record %d: %w: %w", n, err, ErrDamaged)
		}
	}
	return l.change.end(), nil
}

type snapshotReader struct {
	r   *bufio.Reader
	sum hash.Hash32
	buf bytes.Buffer
}

// full fills b, and adds it to the sum.
func (r *snapshotReader) full(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		return cutOff(err)
	}
	_, _ = r.sum.Write(b)
	return nil
}

// cutOff says that an end in the middle is damage; another error is passed on.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it is cut off: %w", ErrDamaged)
	}
	return err
}

// record reads one record. The body is good until the next call. Its memory
// grows with what really comes, not with what the length claims.
func (r *snapshotReader) record() (byte, []byte, error) {
	var kind [1]byte
	if err := r.full(kind[:]); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(r.r)
	if err != nil {
		return 0, nil, cutOff(err)
	}
	if size > maxRecord {
		return 0, nil, fmt.Errorf("a record of %d bytes: %w", size, ErrDamaged)
	}
	_, _ = r.sum.Write(binary.AppendUvarint(nil, size))
	r.buf.Reset()
	if _, err := io.CopyN(&r.buf, r.r, int64(size)); err != nil {
		return 0, nil, cutOff(err)
	}
	_, _ = r.sum.Write(r.buf.Bytes())
	return kind[0], r.buf.Bytes(), nil
}

// end checks the count, the sum, and that nothing follows.
func (r *snapshotReader) end(body []byte, records uint64) error {
	var last endRecord
	if err := unmarshal(body, &last); err != nil {
		return fmt.Errorf("last record: %w: %w", err, ErrDamaged)
	}
	want := r.sum.Sum32()
	var sum [4]byte
	if err := r.full(sum[:]); err != nil {
		return err
	}
	_, err := r.r.ReadByte()
	switch {
	case last.Records != records:
		return fmt.Errorf("%d records of %d: %w", records, last.Records, ErrDamaged)
	case binary.BigEndian.Uint32(sum[:]) != want:
		return fmt.Errorf("the sum does not match: %w", ErrDamaged)
	case err == nil:
		return fmt.Errorf("something follows its end: %w", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
