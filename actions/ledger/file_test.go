package ledger

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

func (l *listTest) write(t *testing.T, data string) {
	t.Helper()
	if err := os.WriteFile(l.path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (l *listTest) read(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A process may die anywhere: whatever is cut off, what remains is the list as
// it was at some time, and the last line cut never counts.
func TestListSurvivesATornLine(t *testing.T) {
	l := newList(t)
	var states []string
	var sizes []int
	note := func() {
		states, sizes = append(states, words(l.Entries())), append(sizes, len(l.read(t)))
	}
	note()
	for i, item := range []string{"a", "b", "c"} {
		l.begin(t, actions.Acquire, hooks(item, fsm.Token(i+7)))
		note()
		l.End(do(actions.Acquire, hooks(item, fsm.Token(i+7))), nil)
		note()
	}
	l.begin(t, actions.Release, hooks("b", 8))
	note()
	l.End(do(actions.Release, hooks("b", 8)), nil)
	note()
	whole := l.read(t)
	for cut := sizes[0]; cut <= len(whole); cut++ {
		c, err := parse([]byte(whole[:cut]))
		if err != nil || c.damaged != nil {
			t.Fatalf("cut after %d: %v %v", cut, err, c.damaged)
		}
		want := ""
		for i := range sizes {
			if sizes[i] <= cut {
				want = states[i]
			}
		}
		if got := words(c.list()); got != want {
			t.Fatalf("cut after %d: %q, want %q", cut, got, want)
		}
	}
	for cut := range sizes[0] {
		if _, err := parse([]byte(whole[:cut])); err == nil {
			t.Fatalf("half a header, %d bytes, is a list", cut)
		}
	}
}

func TestListPassesOverDamage(t *testing.T) {
	for name, tt := range map[string]struct{ line, says string }{
		"no JSON":       {`{"id":2,"phase":`, "unexpected end"},
		"zeroes":        {strings.Repeat("\x00", 40), "invalid character"},
		"no phase":      {`{"id":2,"phase":"gone"}`, "unknown phase"},
		"unknown entry": {`{"id":77,"phase":"up"}`, "not listed"},
		"unknown drop":  {`{"drop":77}`, "not listed"},
		"nothing":       {`{}`, "says nothing"},
		"strange run":   {`{"id":1,"phase":"up","run":"a\"b"}`, "no run"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newList(t)
			l.whole(t, actions.Acquire, hooks("a", 7), nil)
			l.write(t, l.read(t)+tt.line+"\n"+`{"id":1,"phase":"stopping"}`+"\n")
			l.open(t, me)
			if words(l.left) != "a@7 by down stopping" {
				t.Errorf("left is %q", words(l.left))
			}
			if log := l.log.String(); !strings.Contains(log, tt.says) || !strings.Contains(log, "damaged") {
				t.Errorf("the log says %s", log)
			}
			l.says(t, "a@7 by down stopping") // and is sound again
		})
	}
}

func TestListOfAnotherVersionIsNone(t *testing.T) {
	for _, text := range []string{
		`{"flip":"list","version":2,"boot":"boot-1","member":"n1","instance":"i1"}` + "\n", "", "something else\n", "{}\n",
	} {
		l := newList(t)
		l.write(t, text)
		l.open(t, me)
		if l.left != nil || !strings.Contains(l.log.String(), "not known") {
			t.Errorf("%q: left %v, log %s", text, l.left, l.log.String())
		}
		l.whole(t, actions.Acquire, hooks("a", 7), nil)
		l.says(t, "a@7 by down up")
	}
}

// What a newer program of the same version adds is no damage.
func TestListReadsWhatItDoesNotKnow(t *testing.T) {
	l := newList(t)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	l.write(t, strings.ReplaceAll(l.read(t), `"phase"`, `"colour":"red","phase"`))
	l.says(t, "a@7 by down up")
}

func TestListIsWrittenAnew(t *testing.T) {
	l := newList(t)
	stays := hooks("stays", 3)
	l.whole(t, actions.Acquire, stays, nil)
	most := 0
	for i := range 500 {
		j := hooks(fmt.Sprint("a", i%3), fsm.Token(i+10))
		l.whole(t, actions.Acquire, j, nil)
		l.whole(t, actions.Release, j, nil)
		most = max(most, l.file.lines)
	}
	if most > idleLines+100 || most < idleLines {
		t.Errorf("%d lines at most", most)
	}
	if got := strings.Count(l.read(t), "\n"); got != l.file.lines {
		t.Errorf("%d lines in the file, counted %d", got, l.file.lines)
	}
	l.says(t, "stays@3 by down up")
	l.open(t, me)
	l.says(t, "stays@3 by down up")
	if got := l.Token(hooks("a1", 0).Key); got != 509 {
		t.Errorf("token %d, want 509", got)
	}
	if _, err := os.Stat(l.path + ".new"); !os.IsNotExist(err) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func TestListThatCannotBeRead(t *testing.T) {
	l := newList(t)
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(l.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(l.path, me, zerolog.Nop()); err == nil {
		t.Error("a directory is a list")
	}
}
