package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// behindEvery bounds how often a file that could not be written is tried again
// for what nobody waits to be noted.
const behindEvery = 100 * time.Millisecond

// List is the file and what it says. Its methods may be called from any
// goroutine; one lock gives file and mirror one order.
type List struct {
	id    Identity
	log   zerolog.Logger
	nonce string // of the runs that this process names

	mu      sync.Mutex
	file    file
	behind  error // why the file does not say what the list does
	tried   time.Time
	entries map[uint64]*record
	slots   map[fsm.Key][]*record
	given   map[fsm.Key]fsm.Token
	last    uint64 // ID
	runs    uint64
	mirror  Mirror
}

// record is an entry with its job as it is written.
type record struct {
	Entry
	job []byte
}

// Open takes over the list at path, or makes one, and answers with what a
// former process of this boot has left. That stays listed until this process
// lets go of it in the same way, or acquires it. A file that is another's is
// replaced. While the file cannot be written nothing can be acquired.
func Open(path string, id Identity, log zerolog.Logger) (*List, []Entry, error) {
	log = log.With().Str("list", path).Logger()
	c, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil && errors.As(err, new(*fs.PathError)):
		return nil, nil, err
	case err != nil:
		log.Error().Err(err).Msg("what an earlier process may have left is not known")
	case c.Boot != id.Boot || c.Member != id.Member:
		log.Warn().Str("boot", c.Boot).Str("member", string(c.Member)).Str("instance", c.Instance).Int("items", len(c.entries)).
			Msg("the list is of another boot, node or data_dir: it says nothing of this one")
		c = nil
	}
	return start(path, id, c, log)
}

// Resume goes on with the list at path whoever's it is: for who outlives the
// process that wrote it.
func Resume(path string, log zerolog.Logger) (*List, []Entry, error) {
	log = log.With().Str("list", path).Logger()
	c, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	return start(path, c.Identity, c, log)
}

// start writes the file anew, also to part from a process that died in the
// middle of a write to it.
func start(path string, id Identity, c *content, log zerolog.Logger) (*List, []Entry, error) {
	if err := makeDir(path); err != nil {
		return nil, nil, err
	}
	l := &List{
		id: id, log: log, file: file{path: path},
		entries: map[uint64]*record{}, slots: map[fsm.Key][]*record{}, given: map[fsm.Key]fsm.Token{},
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, nil, fmt.Errorf("name this process: %w", err)
	}
	l.nonce = hex.EncodeToString(nonce[:])
	var left []Entry
	if c != nil {
		left, l.last, l.given = c.list(), c.last, c.given
		for _, err := range c.damaged {
			log.Error().Err(err).Msg("a damaged line of the list is passed over")
		}
	}
	for _, e := range left {
		job, err := encode(&e.Job)
		if err != nil {
			return nil, nil, fmt.Errorf("write %v: %w", e.Job.Key, err)
		}
		l.set(&record{Entry: e, job: job})
	}
	if err := l.renew(); errors.Is(err, syscall.ENOSPC) {
		l.behind = err
		log.Error().Err(err).Msg("the list cannot be written: nothing can be acquired until it can")
	} else if err != nil {
		return nil, nil, err
	}
	return l, left, nil
}

// Close ends the writing; the file stays. What begins afterwards fails.
func (l *List) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file.f
	l.file.f, l.mirror = nil, nil
	if f == nil {
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close the list: %w", err)
	}
	return nil
}

// Attach makes m the mirror and answers with all entries as of now: m is told of
// every change after that, and whoever was the mirror of none. nil: nobody is.
func (l *List) Attach(m Mirror) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mirror = m
	return l.all()
}

// Entries are all that is listed now, the oldest first.
func (l *List) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all()
}

func (l *List) all() []Entry {
	all := make([]Entry, 0, len(l.entries))
	for _, id := range l.sorted() {
		all = append(all, l.entries[id].Entry)
	}
	return all
}

// Token is the newest token that hooks of a slot were given in this boot, by
// whatever process.
func (l *List) Token(k fsm.Key) fsm.Token {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.given[k]
}

// Begin implements actions.Ledger. An acquire that is not in the file, or of
// which the mirror was not told, may not be begun; a release may.
func (l *List) Begin(e actions.Effect) (run string, err error) {
	next := record{Entry: Entry{Phase: Starting, Job: trim(&e.Job)}}
	if e.Kind == actions.Release {
		next.Phase = Stopping
	}
	if next.job, err = encode(&next.Job); err != nil {
		return "", fmt.Errorf("list %v: %w", e.Job.Key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs++
	next.Run = l.nonce + "-" + strconv.FormatUint(l.runs, 10)
	was := l.find(&e.Job)
	if was != nil {
		next.ID = was.ID
	}
	if was != nil && e.Kind == actions.Release {
		if was.Job.Token >= e.Job.Token {
			next.Job, next.job = was.Job, was.job
		} else { // the rest is as it was acquired
			next.Job = was.Job
			next.Job.Token = e.Job.Token
			if next.job, err = encode(&next.Job); err != nil {
				return "", fmt.Errorf("list %v: %w", e.Job.Key, err)
			}
		}
	}
	return next.Run, l.put(was, &next, e.Kind == actions.Acquire)
}

// End implements actions.Ledger.
func (l *List) End(e actions.Effect, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.find(&e.Job)
	if was == nil {
		return // its Begin failed
	}
	if e.Kind == actions.Release && err == nil {
		l.drop(was)
		return
	}
	next := *was
	next.Phase, next.Run = Stopping, ""
	if err == nil {
		next.Phase = Up
	}
	l.report(l.put(was, &next, false))
}

// Adopted implements actions.Ledger: what is up counts under a newer decision.
func (l *List) Adopted(j fsm.Job) {
	next := record{Entry: Entry{Phase: Up, Job: trim(&j)}}
	job, err := encode(&next.Job)
	if err != nil {
		l.log.Error().Err(err).Str("system", string(j.System)).Str("item", string(j.Item)).Msg("cannot list the item")
		return
	}
	next.job = job
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.find(&j)
	if was != nil {
		next.ID = was.ID
		if was.Phase == Up && was.Run == "" && string(was.job) == string(next.job) {
			return
		}
	}
	l.report(l.put(was, &next, false))
}

// find is the entry of a job's slot and way; nil: there is none.
func (l *List) find(j *fsm.Job) *record {
	for _, r := range l.slots[j.Key] {
		if actions.SameWay(&r.Job, j) {
			return r
		}
	}
	return nil
}

// put makes next of what was there, if anything: in the file, then the mirror.
// If must is set an error means that all is as before.
func (l *List) put(was, next *record, must bool) error {
	if was == nil {
		l.last++
		next.ID = l.last
	}
	given := l.given[next.Job.Key]
	l.set(next)
	var job []byte
	if was == nil || string(was.job) != string(next.job) {
		job = next.job
	}
	room := 0
	if must {
		room = len(l.entries)
	}
	err := l.write(appendEntry(nil, &next.Entry, job), room)
	if err == nil && l.mirror != nil {
		if err = l.mirror.Put(next.Entry); err != nil {
			err = fmt.Errorf("tell the guard: %w", err)
			if must { // somebody has read it by now, or will
				l.take(was, next, given)
				l.report(l.write(l.undo(was, next), 0))
			}
			return err
		}
		return nil
	}
	if err != nil && must {
		l.take(was, next, given)
		return fmt.Errorf("%w: %s must be written before anything is acquired", err, l.file.path)
	}
	if l.mirror != nil {
		err = errors.Join(err, l.mirror.Put(next.Entry))
	}
	return err
}

// take undoes set.
func (l *List) take(was, next *record, given fsm.Token) {
	if was != nil {
		l.set(was)
	} else {
		l.unset(next)
	}
	if l.given[next.Job.Key] = given; given == 0 {
		delete(l.given, next.Job.Key)
	}
}

// undo is the line that takes back what was written.
func (l *List) undo(was, next *record) []byte {
	if was == nil {
		return appendDrop(nil, next.ID)
	}
	return appendEntry(nil, &was.Entry, was.job)
}

func (l *List) drop(r *record) {
	l.unset(r)
	err := l.write(appendDrop(nil, r.ID), 0)
	if l.mirror != nil {
		err = errors.Join(err, l.mirror.Drop(r.ID))
	}
	l.report(err)
}

func (l *List) report(err error) {
	if err != nil {
		l.log.Warn().Err(err).Msg("a change of the list is not known everywhere")
	}
}

func (l *List) set(r *record) {
	l.unset(r)
	l.entries[r.ID] = r
	l.slots[r.Job.Key] = append(l.slots[r.Job.Key], r)
	if r.Job.Action == fsm.ActionHooks {
		l.given[r.Job.Key] = max(l.given[r.Job.Key], r.Job.Token)
	}
}

func (l *List) unset(r *record) {
	delete(l.entries, r.ID)
	slot := l.slots[r.Job.Key]
	for i, o := range slot {
		if o.ID == r.ID {
			slot = append(slot[:i], slot[i+1:]...)
			break
		}
	}
	if l.slots[r.Job.Key] = slot; len(slot) == 0 {
		delete(l.slots, r.Job.Key)
	}
}

// write brings the file up to the list, of which line is the last change; room
// says for how many entries there must be room left.
func (l *List) write(line []byte, room int) error {
	if l.behind != nil {
		if room == 0 && time.Since(l.tried) < behindEvery {
			return nil // said already
		}
		l.tried = time.Now()
		return l.renew()
	}
	err := l.file.append(line, room)
	if err != nil {
		if room == 0 || l.file.torn {
			l.behind, l.tried = err, time.Now()
		}
		return err
	}
	if l.file.wasteful(len(l.entries) + len(l.given)) {
		if err := l.renew(); err != nil {
			l.behind = nil // it says everything, if at length
			l.file.lines = 0
			l.log.Warn().Err(err).Msg("the list cannot be shortened")
		}
	}
	return nil
}

// renew writes the whole list anew.
func (l *List) renew() error {
	data, lines, err := l.image()
	if err == nil {
		err = l.file.renew(data, lines)
	}
	if err == nil && l.behind != nil {
		l.log.Info().Msg("the list can be written again")
	}
	l.behind = err
	return err
}
