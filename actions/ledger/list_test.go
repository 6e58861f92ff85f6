package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

var me = Identity{Boot: "boot-1", Member: "n1", Instance: "i1"}

// listTest is a list in a directory of its own.
type listTest struct {
	*List
	path string
	log  bytes.Buffer
	left []Entry
}

func newList(t *testing.T) *listTest {
	t.Helper()
	l := &listTest{path: filepath.Join(t.TempDir(), "run", "n1.list")}
	l.open(t, me)
	return l
}

// open is the next process.
func (l *listTest) open(t *testing.T, id Identity) {
	t.Helper()
	l.log.Reset()
	var err error
	if l.List, l.left, err = Open(l.path, id, zerolog.New(&l.log)); err != nil {
		t.Fatal(err)
	}
	list := l.List
	t.Cleanup(func() {
		if err := list.Close(); err != nil {
			t.Error(err)
		}
	})
}

func hooks(item string, token fsm.Token) fsm.Job {
	return fsm.Job{
		Key: fsm.Key{System: "web", Item: fsm.ItemID(item)}, Token: token, AtMostOne: true,
		Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{ \"x\": 1 }"),
		Bet: true, Blocked: []fsm.Blocker{{}}, Reason: "assigned", Failed: true, StartTimeout: 5,
	}
}

func do(kind actions.Kind, j fsm.Job) actions.Effect { return actions.Effect{Kind: kind, Job: j} }

func (l *listTest) begin(t *testing.T, kind actions.Kind, j fsm.Job) string {
	t.Helper()
	run, err := l.Begin(do(kind, j))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// whole is one effect from its begin to its end.
func (l *listTest) whole(t *testing.T, kind actions.Kind, j fsm.Job, err error) {
	t.Helper()
	l.begin(t, kind, j)
	l.End(do(kind, j), err)
}

// words are entries as "item token phase", with "!" while a run is named.
func words(entries []Entry) string {
	var all []string
	for _, e := range entries {
		w := fmt.Sprintf("%s@%d by %s %s", e.Job.Item, e.Job.Token, e.Job.Down, e.Phase)
		if e.Run != "" {
			w += "!"
		}
		all = append(all, w)
	}
	return strings.Join(all, ", ")
}

// says checks what the list says, and that the file says the same to others.
func (l *listTest) says(t *testing.T, want string) {
	t.Helper()
	if got := words(l.Entries()); got != want {
		t.Errorf("the list says %q, want %q", got, want)
	}
	id, entries, err := ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	if id != me || !reflect.DeepEqual(entries, l.Entries()) {
		t.Errorf("the file of %v says %+v, the list %+v", id, entries, l.Entries())
	}
}

var errBusy = errors.New("busy")

func TestListFollowsEffects(t *testing.T) {
	l := newList(t)
	a := hooks("a", 7)
	run := l.begin(t, actions.Acquire, a)
	l.says(t, "a@7 by down starting!")
	if e := l.Entries()[0]; e.Run != run || e.ID == 0 || e.Job.Blocked != nil || e.Job.Failed || e.Job.Reason != "" {
		t.Errorf("listed as %+v, run %q", e, run)
	}
	l.End(do(actions.Acquire, a), nil)
	l.says(t, "a@7 by down up")
	again := l.begin(t, actions.Release, a)
	l.says(t, "a@7 by down stopping!")
	if run == again || run == "" {
		t.Errorf("runs %q and %q", run, again)
	}
	l.End(do(actions.Release, a), errBusy)
	l.says(t, "a@7 by down stopping")
	l.whole(t, actions.Release, a, nil)
	l.says(t, "")

	b := hooks("b", 8)
	l.whole(t, actions.Acquire, b, errBusy) // it may be up
	l.says(t, "b@8 by down stopping")
	// What was never listed is, while it is let go of: its `down` runs.
	c := hooks("c", 3)
	l.begin(t, actions.Release, c)
	l.says(t, "b@8 by down stopping, c@3 by down stopping!")
	l.End(do(actions.Release, c), nil)
	l.says(t, "b@8 by down stopping")
	l.End(do(actions.Release, c), nil) // nothing is
	l.says(t, "b@8 by down stopping")
}

func TestListKnowsTwoWaysOfOneSlot(t *testing.T) {
	l := newList(t)
	old, now := hooks("a", 7), hooks("a", 9)
	now.Down = "other"
	l.whole(t, actions.Acquire, old, nil)
	l.whole(t, actions.Release, old, errBusy)
	l.whole(t, actions.Acquire, now, nil)
	l.says(t, "a@7 by down stopping, a@9 by other up")
	l.whole(t, actions.Release, old, nil)
	l.says(t, "a@9 by other up")
	now.Token, now.AtMostOne = 12, false
	l.Adopted(now)
	l.says(t, "a@12 by other up")
	if e := l.Entries()[0]; e.Job.AtMostOne {
		t.Errorf("%+v has the old guarantee", e)
	}
	lines := l.file.lines
	l.Adopted(now)
	if l.file.lines != lines {
		t.Error("what has not changed is written again")
	}
	for _, j := range []fsm.Job{{Addrs: []string{"10.0.0.1/24"}}, {Config: []byte("{}")}, {Action: fsm.ActionIP}} {
		j.Key, j.Down = now.Key, "other"
		l.begin(t, actions.Acquire, j)
	}
	if n := len(l.Entries()); n != 4 {
		t.Errorf("%d ways, want 4", n)
	}
}

// A release keeps what the item was acquired by, and the newest token.
func TestListKeepsTheRecipe(t *testing.T) {
	l := newList(t)
	a := hooks("a", 7)
	a.Previous, a.StopTimeout = "n2", 30
	l.whole(t, actions.Acquire, a, nil)
	other := hooks("a", 5)
	other.AtMostOne = false
	l.whole(t, actions.Release, other, errBusy)
	l.says(t, "a@7 by down stopping")
	other.Token = 9
	l.whole(t, actions.Release, other, errBusy)
	l.says(t, "a@9 by down stopping")
	if e := l.Entries()[0]; !e.Job.AtMostOne || e.Job.Previous != "n2" || e.Job.StopTimeout != 30 {
		t.Errorf("listed as %+v", e)
	}
}

func TestListOutlivesItsProcess(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	run := l.begin(t, actions.Acquire, hooks("b", 8))
	least := hooks("c", 9)
	least.AtMostOne = false
	l.whole(t, actions.Acquire, least, nil)
	want := l.Entries()
	l.open(t, me)
	if !reflect.DeepEqual(l.left, want) {
		t.Errorf("left are %+v, want %+v", l.left, want)
	}
	runs, held, gone := Inherit(l.left)
	if !slices.Equal(runs, []string{run}) || len(held) != 1 || held[0].Item != "c" || len(gone) != 2 {
		t.Errorf("runs %q, held %v, gone %v", runs, held, gone)
	}
	if again := l.begin(t, actions.Acquire, hooks("d", 10)); again == run || again == "" {
		t.Errorf("another process's run is named %q too", again)
	}
	l.whole(t, actions.Release, hooks("d", 10), nil)
	// By another way it stays; by its own it goes; what is acquired is this process's.
	other := hooks("a", 7)
	other.Down = "other"
	l.whole(t, actions.Release, other, nil)
	l.whole(t, actions.Release, hooks("b", 8), nil)
	least.Token = 20
	l.whole(t, actions.Acquire, least, nil)
	l.says(t, "a@7 by down up, c@20 by down up")
	ids := map[uint64]bool{}
	for _, e := range append(want, l.Entries()...) {
		ids[e.ID] = true
	}
	if l.begin(t, actions.Acquire, hooks("e", 30)); ids[l.Entries()[2].ID] || l.Entries()[2].ID < 4 {
		t.Errorf("an ID is given again: %+v", l.Entries())
	}
}

// IDs are not given again even if all that had them is gone.
func TestListNeverGivesAnIDAgain(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	first := l.Entries()[0].ID
	l.whole(t, actions.Release, hooks("a", 7), nil)
	for range 2 {
		l.open(t, me)
	}
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	if again := l.Entries()[0].ID; again <= first {
		t.Errorf("ID %d after %d", again, first)
	}
}

func TestListOfAnotherIsNone(t *testing.T) {
	for _, other := range []Identity{
		{Boot: "boot-2", Member: "n1", Instance: "i1"},
		{Boot: "boot-1", Member: "n2", Instance: "i1"},
	} {
		l := newList(t)
		l.whole(t, actions.Acquire, hooks("a", 7), nil)
		l.open(t, other)
		if l.left != nil || l.Token(hooks("a", 7).Key) != 0 || len(l.Entries()) > 0 {
			t.Errorf("%v takes over %v", other, l.left)
		}
		if !strings.Contains(l.log.String(), `"level":"warn"`) || !strings.Contains(l.log.String(), `"items":1`) {
			t.Errorf("nobody is told: %s", l.log.String())
		}
	}
}

// A wiped data directory takes nothing off this machine.
func TestListOutlivesTheDataDirectory(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	l.open(t, Identity{Boot: "boot-1", Member: "n1", Instance: "i2"})
	if words(l.left) != "a@7 by down up" || l.Token(hooks("a", 7).Key) != 7 {
		t.Errorf("left is %v", l.left)
	}
}

func TestListIsResumedWhoseverItIs(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	r, left, err := Resume(l.path, zerolog.New(io.Discard))
	if err != nil || words(left) != "a@7 by down up" {
		t.Fatal(left, err)
	}
	if _, err := r.Begin(do(actions.Release, hooks("a", 7))); err != nil {
		t.Fatal(err)
	}
	r.End(do(actions.Release, hooks("a", 7)), nil)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// A write of the dead that was still under way reaches nobody.
	if _, err := l.Begin(do(actions.Acquire, hooks("b", 8))); err != nil {
		t.Fatal(err)
	}
	l.open(t, me)
	if l.left == nil || len(l.left) > 0 {
		t.Errorf("left are %v", l.left)
	}
	if _, _, err := Resume(l.path+".none", zerolog.Nop()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no list: %v", err)
	}
}

func TestListRemembersTokens(t *testing.T) {
	l := newList(t)
	k := hooks("a", 0).Key
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	l.whole(t, actions.Acquire, hooks("a", 5), nil) // a `down` of another time, say
	l.whole(t, actions.Release, hooks("a", 5), nil)
	for range 3 {
		if got := l.Token(k); got != 7 {
			t.Errorf("token %d, want 7", got)
		}
		l.open(t, me)
	}
	l.whole(t, actions.Release, hooks("a", 9), nil) // hooks were given that
	l.whole(t, actions.Release, hooks("b", 3), nil)
	l.open(t, me)
	if got := l.Token(k); got != 9 {
		t.Errorf("token %d, want 9", got)
	}
	ip := hooks("ip", 8)
	ip.Action = fsm.ActionIP
	l.whole(t, actions.Acquire, ip, nil)
	if got := l.Token(ip.Key); got != 0 {
		t.Errorf("an address has no hooks that were given token %d", got)
	}
}

// The file is 0600: a system's config may be nobody else's to read.
func TestListIsPrivate(t *testing.T) {
	l := newList(t)
	info, err := os.Stat(l.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
