package mark

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

// marked is this test binary as a marker.
const marked = "FLIP_MARK_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(marked) != "" {
		if err := Hold(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

func at(ms int) mono.Time { return mono.Time(ms) * mono.Time(time.Millisecond) }

func life(item, host string, token uint64, from, to int) Life {
	return Life{Hello: Hello{System: "s", Item: item, Host: host, Token: token}, From: at(from), To: at(to)}
}

func TestAliveTwice(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lives []Life
		from  int
		want  time.Duration // of the longest; 0: none
	}{
		{name: "none"},
		{name: "one after the other", lives: []Life{life("a", "n1", 1, 0, 100), life("a", "n2", 2, 100, 200)}},
		{name: "both", lives: []Life{life("a", "n1", 1, 0, 100), life("a", "n2", 2, 60, 200)}, want: 40 * time.Millisecond},
		{name: "other items", lives: []Life{life("a", "n1", 1, 0, 100), life("b", "n2", 2, 60, 200)}},
		{name: "one host, two processes", lives: []Life{life("a", "n1", 1, 0, 100), life("a", "n1", 2, 90, 200)}, want: 10 * time.Millisecond},
		{name: "before", lives: []Life{life("a", "n1", 1, 0, 100), life("a", "n2", 2, 60, 200)}, from: 100},
		{name: "partly before", lives: []Life{life("a", "n1", 1, 0, 100), life("a", "n2", 2, 60, 200)}, from: 90, want: 10 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := AliveTwice(tc.lives, at(tc.from))
			if len(got) > 1 || len(got) == 0 && tc.want > 0 || len(got) == 1 && got[0].For != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestTokensGoBack(t *testing.T) {
	good := []Life{life("a", "n2", 5, 100, 200), life("a", "n1", 3, 0, 100), life("b", "n1", 1, 150, 200)}
	if got := TokensGoBack(good); got != "" {
		t.Error(got)
	}
	if got := TokensGoBack(append(good, life("a", "n3", 4, 300, 400))); !strings.Contains(got, "token 4 after 5") {
		t.Errorf("%q", got)
	}
}

// The hooks start and end a real process, and the monitor sees it.
func TestHooksAndMonitor(t *testing.T) {
	for _, tool := range []string{"setsid", "flock"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the hooks need %s", tool)
		}
	}
	dir := t.TempDir()
	orders, order := io.Pipe()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Monitor(Config{Socket: filepath.Join(dir, SocketEnd)}, orders, out) }()
	r := bufio.NewReader(in)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	lives := func() []Life {
		t.Helper()
		_, _ = fmt.Fprintln(order, "report")
		line, err := r.ReadBytes('\n')
		var l []Life
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	hook := func(script string, token int) (string, error) {
		cmd := exec.Command("sh", "-s", "item")
		cmd.Stdin = strings.NewReader(script)
		cmd.Env = append(os.Environ(), DirEnv+"="+dir, MarkerEnv+"="+os.Args[0], marked+"=1",
			"FLIP_MEMBER=n1", "FLIP_SYSTEM=s", "FLIP_ITEM=item", fmt.Sprintf("FLIP_TOKEN=%d", token))
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	run := func(script string, token int) {
		t.Helper()
		if said, err := hook(script, token); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	t.Cleanup(func() { _, _ = hook(Down, 0) })
	run(Down, 1) // of what never was
	run(Alive, 7)
	run(Alive, 7) // again: nothing to do
	if l := lives(); len(l) != 1 || !l[0].Lives || l[0].Token != 7 {
		t.Fatalf("%+v", l)
	}
	if err := os.WriteFile(filepath.Join(dir, DownFails), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := hook(Down, 7); err == nil {
		t.Errorf("down did not fail: %s", said)
	}
	if err := os.Remove(filepath.Join(dir, DownFails)); err != nil {
		t.Fatal(err)
	}
	run(Down, 7)
	run(Alive, 8)
	run(Down, 8)
	l := lives()
	if len(l) != 2 || len(AliveTwice(l, 0)) > 0 {
		t.Errorf("%+v", l)
	}
	_ = order.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var none bytes.Buffer
	if err := Monitor(Config{Socket: filepath.Join(dir, "no", "dir")}, strings.NewReader(""), &none); err == nil {
		t.Error("a monitor without a socket")
	}
}
