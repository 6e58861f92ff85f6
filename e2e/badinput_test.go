package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fails starts a daemon that must end by itself with exit code 1 and words.
func (c *cluster) fails(id, file string, words ...string) {
	c.t.Helper()
	c.startWith(id, file)
	if code := c.exit(id, 20*time.Second); code != 1 {
		c.t.Errorf("%s exited %d", id, code)
	}
	for _, w := range words {
		if log := c.log(id); !strings.Contains(log, w) {
			c.t.Errorf("the message does not say %q:\n%s", w, tail([]byte(log), 5))
		}
	}
}

func TestStrangersDatagrams(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	before := len(c.trace())
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", c.ports["flip"]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	junk := make([]byte, 1200)
	for i := range 500 {
		_, _ = rand.Read(junk)
		_, _ = conn.Write(junk[:1+i*2])
	}
	c.statusSays("flip", 10*time.Second, "from strangers: other-key")
	tcp, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports["flip"]))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = tcp.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	_ = tcp.Close()
	c.becomes(2*time.Second, "flip", allActive)
	if log := c.log("flip"); strings.Count(log, "datagram dropped") > 5 {
		t.Errorf("%d lines for a stranger's datagrams", strings.Count(log, "datagram dropped"))
	}
	if after := len(c.trace()); after != before {
		t.Errorf("%d hook calls because of a stranger", after-before)
	}
}

func TestTruncatedBoltFile(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	c.kill("flip2")
	bolt := filepath.Join(c.dir, "d", "flip2", "raft.db")
	if err := os.Truncate(bolt, 10000); err != nil {
		t.Fatal(err)
	}
	c.fails("flip2", c.file, "raft.db", "Move the directory away")
	// As the message says.
	if err := os.Rename(filepath.Join(c.dir, "d", "flip2"), filepath.Join(c.dir, "old")); err != nil {
		t.Fatal(err)
	}
	c.start("flip2")
	c.ready("flip2")
	c.becomes(10*time.Second, "flip", allActive)
}

func TestPortInUse(t *testing.T) {
	c := newCluster(t, nil)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports["flip"]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c.fails("flip", c.file, "address already in use", "another process has this port")
}

func TestTwoDaemonsOnOneDirectory(t *testing.T) {
	c := newCluster(t, nil)
	first := c.startWith("flip", c.file)
	c.statusSays("flip", 10*time.Second, "flip")
	c.fails("flip", c.file, "is in use by another flip", fmt.Sprint(first.cmd.Process.Pid))
	c.procs["flip"] = first
}

// A server whose disk is full cannot vote; it says so, lets go of what is held
// at most once, tells the others, and ends; they go on.
func TestFullDisk(t *testing.T) {
	for _, guarantee := range []string{"at-least-one", "at-most-one"} {
		t.Run(guarantee, func(t *testing.T) {
			c := newCluster(t, func(s spec) { s.system()["guarantee"] = guarantee })
			data := filepath.Join(c.dir, "d", "flip1")
			if err := os.MkdirAll(data, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("flip-e2e", data, "tmpfs", 0, "size=1m"); err != nil {
				t.Skipf("no file system can be mounted here (root is needed): %v", err)
			}
			t.Cleanup(func() {
				c.end()
				_ = syscall.Unmount(data, syscall.MNT_DETACH)
			})
			c.start(c.ids...)
			c.becomes(30*time.Second, "flip", allActive)
			c.ready(c.ids...)
			ballast, err := os.Create(filepath.Join(data, "ballast"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ballast.Close() }()
			for err == nil {
				_, err = ballast.Write(bytes.Repeat([]byte("x"), 4096))
			}
			if code := c.exit("flip1", 60*time.Second); code != 1 {
				t.Errorf("flip1 exited %d", code)
			}
			if log := c.log("flip1"); !strings.Contains(log, "no space left on device") {
				t.Error("the log does not name the full disk")
			}
			c.becomes(20*time.Second, "flip", flip1Down)
			if guarantee == "at-most-one" {
				c.neverTwo("192.168.0.1")
			}
		})
	}
}

// An at-most-one item whose `down` fails is withheld: nobody else starts it,
// status says what to do, and a stop does not look clean.
func TestFailedDownIsWithheld(t *testing.T) {
	c := newCluster(t, func(s spec) {
		s.system()["guarantee"] = "at-most-one"
		s.system()["clean_on_start"] = false
		s.system()["stop_timeout"] = 2000
	})
	flag := filepath.Join(c.dir, "broken")
	c.writeHook("ip_down", "#!/bin/sh\n[ ! -e \""+flag+"\" ] || { echo device busy >&2; exit 3; }\n"+strings.TrimPrefix(downHook, "#!/bin/sh\n"))
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.signal("flip1", syscall.SIGTERM)
	c.statusSays("flip1", 10*time.Second, "192.168.0.1 is withheld", "device busy")
	if code := c.exit("flip1", 20*time.Second); code != 1 {
		t.Errorf("flip1 exited %d although an item is not released", code)
	}
	c.statusSays("flip", 10*time.Second, "192.168.0.1", "start flip on flip1 again")
	if ups := c.upsAfter("flip", "192.168.0.1", time.Time{}); len(ups) > 0 {
		t.Fatalf("flip started what flip1 has not released: %v", ups)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	c.start("flip1")
	c.becomes(30*time.Second, "flip", allActive)
	c.neverTwo("192.168.0.1")
}

// A hook that cannot work on one node: the item goes elsewhere, the failure is
// remembered and shown, and the other items do not suffer.
func TestBadHooks(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		mode         os.FileMode
		says         string
	}{
		{"missing", "", 0, "not found"},
		{"not executable", upHook, 0o644, "not executable"},
		{"fails", "#!/bin/sh\necho no such interface >&2\nexit 3\n", 0o755, "exit status 3"},
		{"hangs", "#!/bin/sh\nsleep 1000 & wait\n", 0o755, "start_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, func(s spec) { s.system()["start_timeout"] = 300 })
			// Only flip1 finds the bad hook.
			bad := filepath.Join(c.dir, "bad")
			if err := os.Mkdir(bad, 0o755); err != nil {
				t.Fatal(err)
			}
			path := "PATH=" + bad + ":" + os.Getenv("PATH")
			if tt.mode != 0 {
				if err := os.WriteFile(filepath.Join(bad, "ip_up"), []byte(tt.script), tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(bad, "ip_down"), []byte(downHook), 0o755); err != nil {
				t.Fatal(err)
			}
			c.start("flip", "flip2")
			c.startWith("flip1", c.file, path)
			c.becomes(40*time.Second, "flip", flip1Down)
			c.statusSays("flip", 10*time.Second, "flip1", tt.says)
		})
	}
}

func TestHookThatPrintsAMegabyte(t *testing.T) {
	c := newCluster(t, nil)
	c.writeHook("ip_up", "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\nyes | head -n 100000\n"+strings.TrimPrefix(upHook, "#!/bin/sh\n"))
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	info, err := os.Stat(c.procs["flip"].log)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 10<<20 {
		t.Errorf("the log has grown to %d bytes", info.Size())
	}
}

func TestWrongFile(t *testing.T) {
	c := newCluster(t, func(s spec) {
		s["quorm"] = 2
		s.system()["type"] = "sharde"
	})
	c.startWith("flip", c.file)
	if code := c.exit("flip", 10*time.Second); code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, w := range []string{"flip.json:", "quorm", "quorum", "sharde", "shard"} {
		if !strings.Contains(c.log("flip"), w) {
			t.Errorf("%q is not in:\n%s", w, c.log("flip"))
		}
	}
}
