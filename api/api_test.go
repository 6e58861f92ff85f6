package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// Every JSON name on the wire is snake_case, and a Go field without a tag would
// show as one that is not.
func TestFieldNamesAreSnakeCase(t *testing.T) {
	good := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(rt reflect.Type) {
		for rt.Kind() == reflect.Slice || rt.Kind() == reflect.Pointer || rt.Kind() == reflect.Array {
			rt = rt.Elem()
		}
		if rt.Kind() != reflect.Struct || seen[rt] {
			return
		}
		seen[rt] = true
		for i := range rt.NumField() {
			f := rt.Field(i)
			if f.Anonymous {
				walk(f.Type)
				continue
			}
			tag := regexp.MustCompile(`,.*`).ReplaceAllString(f.Tag.Get("json"), "")
			if !good.MatchString(tag) {
				t.Errorf("%s.%s is %q in JSON", rt, f.Name, tag)
			}
			walk(f.Type)
		}
	}
	for _, v := range []any{Error{}, Status{}, Assign{}, Hello{}, Result{}, Version{}, Health{}, Event{}} {
		walk(reflect.TypeOf(v))
	}
}

func TestHelloKeepsEverything(t *testing.T) {
	h := Hello{
		Wire: [2]uint16{1, 2}, Name: "n1", Instance: "i", Cluster: "c", Version: "v", Empty: true,
		Voters: Digest{1, 2, 0xff}, VoterList: []string{"n1 a:1"}, Applied: 9, RunningMS: 5, Hears: true,
	}
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var got Hello
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v, %v; want %+v", got, err, h)
	}
}

func TestResultKeepsEverything(t *testing.T) {
	r := fsm.Result{
		Applied: true, Why: "w", Epoch: 3,
		Dropped: []fsm.Move{{Key: fsm.Key{System: "s", Item: "i", Rank: 2}, Was: 1, Home: "h", To: "t", Reason: "r", Cause: fsm.CauseHome}},
		Each:    []fsm.Result{{Applied: true}, {Why: "no", Each: []fsm.Result{{Epoch: 1}}}},
	}
	b, err := json.Marshal(ResultOf(r))
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back.FSM(), r) {
		t.Errorf("got %+v, %v; want %+v", back.FSM(), err, r)
	}
}

func TestErrorsMatchByCode(t *testing.T) {
	err := fmt.Errorf("ask: %w", NotLeader("n1", "a:1"))
	if !errors.Is(err, &Error{Code: CodeNotLeader}) || errors.Is(err, &Error{Code: CodeNoLeader}) || CodeOf(err) != CodeNotLeader {
		t.Errorf("%v", err)
	}
	if CodeOf(errors.New("x")) != "" {
		t.Error("a code from nowhere")
	}
}

func TestLeaderIn(t *testing.T) {
	for _, name := range []string{"n1", "at", "a at b"} {
		leader, addr, ok := LeaderIn(fmt.Errorf("ask: %w", NotLeader(name, "[::1]:2200")))
		if !ok || leader != name || addr != "[::1]:2200" {
			t.Errorf("%s became %q at %q, %v", name, leader, addr, ok)
		}
	}
	for _, err := range []error{
		nil, errors.New("x"), NoLeader("x"), NotLeader("", ""), &Error{Code: CodeNotLeader}, &Error{Code: CodeNotLeader, Message: notLeader + "n1 at "},
		&Error{Code: CodeNotLeader, Message: notLeader + " at a:1"},
	} {
		if leader, addr, ok := LeaderIn(err); ok {
			t.Errorf("%v names %q at %q", err, leader, addr)
		}
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte("00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Digest
		if d.UnmarshalText(b) != nil {
			return
		}
		again, _ := d.MarshalText()
		var e Digest
		if err := e.UnmarshalText(again); err != nil || e != d {
			t.Errorf("%x became %x, %v", d, e, err)
		}
	})
}

func TestCheckCountsCriticalAlarms(t *testing.T) {
	st := Status{Cluster: Cluster{Leader: "n1", Failover: Failover{Possible: true}}}
	if code, reasons := st.Check(); code != CheckOK {
		t.Fatalf("%d %v", code, reasons)
	}
	st.Alarms = []Alarm{{Severity: Warning, What: "w"}, {Severity: Critical, What: "a stranger answers"}}
	if code, reasons := st.Check(); code != CheckDegraded || len(reasons) != 1 || reasons[0] != "a stranger answers" {
		t.Errorf("%d %v", code, reasons)
	}
}
