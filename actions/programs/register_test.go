package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// sleeper is a process that lives until the test ends it.
func sleeper(t *testing.T) (ProcessID, func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	start, err := started(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return ProcessID{cmd.Process.Pid, start}, end
}

func TestRegister(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.programs")
	lives, _ := sleeper(t)
	dies, end := sleeper(t)
	r, former, err := OpenRegister(path, "boot", "n1")
	if err != nil || len(former) != 0 {
		t.Fatalf("a new one: %v, %v", former, err)
	}
	// Its number is the living one's, and it was started at another time.
	other := ProcessID{lives.PID, lives.Start - 1}
	for session, id := range map[string]ProcessID{"a": lives, "b": dies, "c": other, "d": lives} {
		if err := r.add(Entry{System: "s", Session: session, ProcessID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.remove("d"); err != nil {
		t.Fatal(err)
	}
	end()
	if _, former, err = OpenRegister(path, "boot", "n1"); err != nil || len(former) != 1 || former[0].Session != "a" {
		t.Fatalf("found again: %+v, %v", former, err)
	}
	if err := former[0].Process.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := Read(path, "boot", "n1"); err != nil || len(entries) != 1 {
		t.Errorf("left are %+v, %v", entries, err)
	}
	for _, not := range [][2]string{{"another boot", "n1"}, {"boot", "n2"}} {
		if entries, err := Read(path, not[0], "n2"); err != nil || len(entries) != 0 {
			t.Errorf("%v reads %+v, %v", not, entries, err)
		}
	}
	// What cannot be read may name anybody.
	for _, bad := range []string{"", "{", `{"flip":"list"}`, `{"flip":"programs","programs":[{"session":"a"}]}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenRegister(path, "boot", "n1"); err == nil {
			t.Errorf("%q is taken for a list", bad)
		}
	}
}

func TestProcess(t *testing.T) {
	id, end := sleeper(t)
	p, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if p.ID() != id {
		t.Errorf("%+v, want %+v", p.ID(), id)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	end()
	if err := p.Kill(); err != nil {
		t.Errorf("kill the dead: %v", err)
	}
	if _, err := Open(id); !HasEnded(err) {
		t.Errorf("it is found again: %v", err)
	}
}

// Who is at the other end of a socket is this process.
func TestPeer(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := fileConn(t, fds[0])
	defer fileConn(t, fds[1])
	p, err := Peer(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	id, err := PeerID(conn)
	if err != nil || id.PID != os.Getpid() || id != p.ID() {
		t.Errorf("%+v, %v; this is %d", id, err, os.Getpid())
	}
}

func FuzzRegister(f *testing.F) {
	f.Add([]byte(`{"flip":"programs","boot":"b","member":"n1","programs":[{"system":"s","session":"a","pid":7,"start":9}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parse(data)
		if err != nil {
			return
		}
		for _, e := range got.Programs {
			if e.System == "" || e.PID <= 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
