package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/fsm"
)

const (
	// reserveStep is taken from the file system ahead of need: it is a call each
	// few hundred lines.
	reserveStep = 64 << 10
	// spare is kept for each entry: the lines that tell of its end.
	spare = 256
	// idleLines are never worth a compaction.
	idleLines = 1024
)

// file is the list's file, open for appending.
type file struct {
	path     string
	f        *os.File
	size     int64
	reserved int64 // up to here the file system has given room
	lines    int
	torn     bool // it ends in a part of a line
}

// append writes one line in one call. With room only if that leaves what the
// ends of so many entries take: a full file system refuses what is begun, and
// never what is ended.
func (w *file) append(line []byte, room int) error {
	if w.f == nil {
		return os.ErrClosed
	}
	if err := w.reserve(int64(len(line)), int64(room)*spare); err != nil && room > 0 {
		return err
	}
	n, err := w.f.Write(line)
	if err == nil {
		w.size += int64(n)
		w.lines++
		return nil
	}
	// What was written of it would spoil the next line.
	w.reserved = w.size
	back := w.f.Truncate(w.size)
	w.torn = back != nil
	return errors.Join(fmt.Errorf("write %s: %w", w.path, err), back)
}

// reserve sees to it that a line and what is to be left after it will fit.
func (w *file) reserve(line, left int64) error {
	if w.size+line+left <= w.reserved {
		return nil
	}
	want := w.size + line + left + reserveStep
	err := unix.Fallocate(int(w.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, w.size, want-w.size)
	if errors.Is(err, unix.ENOSPC) { // what it takes may be there
		want -= reserveStep
		err = unix.Fallocate(int(w.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, w.size, want-w.size)
	}
	switch {
	case err == nil:
		w.reserved = want
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		w.reserved = math.MaxInt64 // this file system cannot: a write will tell
		return nil
	default:
		return fmt.Errorf("reserve room in %s: %w", w.path, err)
	}
}

// renew replaces the file by one that says the same in as few lines as it takes.
func (w *file) renew(data []byte, lines int) (err error) {
	temp := w.path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the list anew: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the list anew: %w", err), f.Close(), os.Remove(temp))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := os.Rename(temp, w.path); err != nil {
		return err
	}
	if w.f != nil {
		_ = w.f.Close() // its name is gone already
	}
	w.f, w.size, w.reserved, w.lines, w.torn = f, int64(len(data)), int64(len(data)), lines, false
	return nil
}

// wasteful says whether the file has many more lines than it takes to say what
// it says.
func (w *file) wasteful(live int) bool { return w.lines > 4*live+idleLines }

// image is the whole list as a file.
func (l *List) image() (data []byte, lines int, err error) {
	data, err = json.Marshal(header{Format: format, Version: version, Identity: l.id, Last: l.last})
	if err != nil {
		return nil, 0, fmt.Errorf("write the list's header: %w", err)
	}
	data, lines = append(data, '\n'), 1
	shown := map[fsm.Key]fsm.Token{}
	for _, id := range l.sorted() {
		r := l.entries[id]
		data = appendEntry(data, &r.Entry, r.job)
		lines++
		if r.Job.Action == fsm.ActionHooks {
			shown[r.Job.Key] = max(shown[r.Job.Key], r.Job.Token)
		}
	}
	for k, t := range l.given {
		if t <= shown[k] {
			continue
		}
		to := keyOf(k)
		given, err := json.Marshal(line{Given: t, To: &to})
		if err != nil {
			return nil, 0, fmt.Errorf("write a token of %v: %w", k, err)
		}
		data = append(append(data, given...), '\n')
		lines++
	}
	return data, lines, nil
}

// sorted are the IDs in the order in which the entries came.
func (l *List) sorted() []uint64 {
	ids := make([]uint64, 0, len(l.entries))
	for id := range l.entries {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// ReadFile reads a list without taking part in it.
func ReadFile(path string) (Identity, []Entry, error) {
	c, err := read(path)
	if err != nil {
		return Identity{}, nil, err
	}
	return c.Identity, c.list(), errors.Join(c.damaged...)
}

func read(path string) (*content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	data, err := io.ReadAll(f)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read the list %s: %w", path, err)
	}
	return c, nil
}

func (c *content) list() []Entry {
	all := make([]Entry, 0, len(c.entries))
	for _, e := range c.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return int(a.ID) - int(b.ID) })
	return all
}

// makeDir makes the directory of the list, as that of the control socket beside
// it is made.
func makeDir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the list's directory: %w", err)
	}
	return nil
}
