package ledger

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// mirror checks, at each word, that the file says it already.
type mirror struct {
	t     *testing.T
	path  string
	err   error
	blind bool // the file may say something else

	mu      sync.Mutex
	said    []string
	entries map[uint64]Entry
}

func newMirror(t *testing.T, l *listTest) *mirror {
	m := &mirror{t: t, path: l.path, entries: map[uint64]Entry{}}
	m.mu.Lock() // until it has the entries it takes no change of them
	defer m.mu.Unlock()
	for _, e := range l.Attach(m) {
		m.entries[e.ID] = e
	}
	return m
}

func (m *mirror) file() map[uint64]Entry {
	_, entries, err := ReadFile(m.path)
	if err != nil {
		m.t.Error(err)
	}
	all := map[uint64]Entry{}
	for _, e := range entries {
		all[e.ID] = e
	}
	return all
}

func (m *mirror) Put(e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.file()[e.ID]; !m.blind && (got.Phase != e.Phase || got.Run != e.Run || got.Job.Token != e.Job.Token) {
		m.t.Errorf("told %+v, the file says %+v", e, got)
	}
	if m.err == nil {
		m.entries[e.ID] = e
		m.said = append(m.said, words([]Entry{e}))
	}
	return m.err
}

func (m *mirror) Drop(id uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.file()[id]; there && !m.blind {
		m.t.Errorf("told that %d is gone, the file lists it", id)
	}
	delete(m.entries, id)
	m.said = append(m.said, fmt.Sprint("drop ", id))
	return m.err
}

func TestMirrorHearsAllOfIt(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	first := newMirror(t, l)
	l.begin(t, actions.Acquire, hooks("b", 8))
	second := newMirror(t, l)
	if len(second.entries) != 2 {
		t.Fatalf("%+v", second.entries)
	}
	l.End(do(actions.Acquire, hooks("b", 8)), nil)
	l.Adopted(hooks("a", 9))
	l.whole(t, actions.Release, hooks("b", 8), nil)
	l.Attach(nil)
	l.whole(t, actions.Release, hooks("a", 9), nil)
	if got, want := strings.Join(first.said, "; "), "b@8 by down starting!"; got != want {
		t.Errorf("the first heard %q, want %q", got, want)
	}
	if got, want := strings.Join(second.said, "; "), "b@8 by down up; a@9 by down up; b@8 by down stopping!; drop 2"; got != want {
		t.Errorf("the second heard %q, want %q", got, want)
	}
}

var errDeaf = errors.New("deaf")

// Nothing is begun of which somebody who may act was not told; a release is.
func TestDeafMirrorKeepsAcquiresBack(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	m := newMirror(t, l)
	m.err = errDeaf
	if _, err := l.Begin(do(actions.Acquire, hooks("b", 8))); !errors.Is(err, errDeaf) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Begin(do(actions.Acquire, hooks("a", 9))); !errors.Is(err, errDeaf) {
		t.Errorf("got %v", err)
	}
	l.says(t, "a@7 by down up")
	if got := l.Token(hooks("b", 8).Key); got != 0 {
		t.Errorf("token %d of hooks that were not started", got)
	}
	run, err := l.Begin(do(actions.Release, hooks("a", 7)))
	if run == "" || !errors.Is(err, errDeaf) {
		t.Errorf("run %q, %v", run, err)
	}
	l.says(t, "a@7 by down stopping!")
	l.End(do(actions.Release, hooks("a", 7)), nil)
	l.says(t, "")
	if !strings.Contains(l.log.String(), "deaf") {
		t.Error("nobody is told")
	}
}

// File and mirror have one order, whoever comes at the same time: each mirror in
// turn ends with what the list says.
func TestMirrorAndFileAgree(t *testing.T) {
	l := newList(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 9 {
				j := hooks(fmt.Sprint(i), fsm.Token(n+1))
				for _, kind := range []actions.Kind{actions.Acquire, actions.Release} {
					if kind == actions.Release && n%3 == 0 {
						continue
					}
					if _, err := l.Begin(do(kind, j)); err != nil {
						t.Error(err)
					}
					l.End(do(kind, j), nil)
				}
			}
		})
	}
	var last *mirror
	for range 20 {
		last = newMirror(t, l)
	}
	wg.Wait()
	l.Attach(nil)
	for _, e := range l.Entries() {
		if got := last.entries[e.ID]; got.Phase != e.Phase || got.Job.Token != e.Job.Token {
			t.Errorf("the mirror says %+v, the list %+v", got, e)
		}
	}
	if len(last.entries) != len(l.Entries()) {
		t.Errorf("the mirror has %d entries, the list %d", len(last.entries), len(l.Entries()))
	}
	l.says(t, words(l.Entries()))
}
