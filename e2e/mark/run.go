package mark

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// What a marker finds in its environment, besides what flip puts there.
const (
	DirEnv    = "FLIP_E2E_MARKS" // the directory of the monitor's socket
	SocketEnd = "monitor"        // the socket's name there
)

// Monitor is the monitor's process: it writes the lives so far, as one line of
// JSON, for each line that it reads, until there is none. It says with a line
// that it has begun.
func Monitor(cfg Config, orders io.Reader, out io.Writer) error {
	l, err := net.Listen("unix", cfg.Socket)
	if err != nil {
		return fmt.Errorf("listen to markers: %w", err)
	}
	defer func() { _ = l.Close() }()
	m := &monitor{}
	go m.accept(l)
	if _, err := fmt.Fprintln(out, "listening"); err != nil {
		return fmt.Errorf("say that the monitor runs: %w", err)
	}
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		if lines.Text() == "" {
			continue // what is left of the configuration's line
		}
		if err := json.NewEncoder(out).Encode(m.lives()); err != nil {
			return fmt.Errorf("write what was alive: %w", err)
		}
	}
	return nil
}

type monitor struct {
	mu  sync.Mutex
	all []*Life
}

func (m *monitor) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go m.listen(conn)
	}
}

// listen follows one marker to its end.
func (m *monitor) listen(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return // it was killed before it said who it is
	}
	life := &Life{From: mono.Now(), Lives: true}
	if err := json.Unmarshal(line, &life.Hello); err != nil {
		return
	}
	m.mu.Lock()
	m.all = append(m.all, life)
	m.mu.Unlock()
	_, _ = fmt.Fprintln(conn, "noted")
	_, _ = io.Copy(io.Discard, r)
	now := mono.Now()
	m.mu.Lock()
	life.To, life.Lives = now, false
	m.mu.Unlock()
}

func (m *monitor) lives() []Life {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Life, 0, len(m.all))
	for _, l := range m.all {
		one := *l
		if one.Lives {
			one.To = mono.Now()
		}
		out = append(out, one)
	}
	return out
}

// Hold is a marker's process: it says `up` once the monitor knows of it, closes
// its standard output, and lives until it is killed. It has its file of the
// directory locked; a second one for the same host and item says `up` and ends.
func Hold() error {
	token, err := strconv.ParseUint(os.Getenv("FLIP_TOKEN"), 10, 64)
	if err != nil {
		return fmt.Errorf("FLIP_TOKEN: %w", err)
	}
	me := Hello{System: os.Getenv("FLIP_SYSTEM"), Item: os.Getenv("FLIP_ITEM"), Host: os.Getenv("FLIP_MEMBER"), Token: token}
	dir := os.Getenv(DirEnv)
	file, err := os.OpenFile(filepath.Join(dir, me.Host+"."+me.System+"."+me.Item), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the marker's file: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return up()
	}
	if err != nil {
		return fmt.Errorf("lock the marker's file: %w", err)
	}
	if err := errors.Join(file.Truncate(0), write(file, os.Getpid())); err != nil {
		return err
	}
	conn, err := net.Dial("unix", filepath.Join(dir, SocketEnd))
	if err != nil {
		return fmt.Errorf("find the monitor: %w", err)
	}
	if err := json.NewEncoder(conn).Encode(me); err != nil {
		return fmt.Errorf("tell the monitor: %w", err)
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		return fmt.Errorf("the monitor does not answer: %w", err)
	}
	if err := up(); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, r) // ends with the monitor
	return nil
}

func write(file *os.File, pid int) error {
	if _, err := fmt.Fprintln(file, pid); err != nil {
		return fmt.Errorf("write the marker's number: %w", err)
	}
	return nil
}

func up() error {
	if _, err := fmt.Println("up"); err != nil {
		return fmt.Errorf("say that the marker is up: %w", err)
	}
	return errors.Join(os.Stdout.Close(), os.Stderr.Close())
}

// The hooks. What `alive` starts is in a session of its own: a deadline's KILL is
// for the hook alone. `down` kills only what has the file locked, which its number
// is in, and waits until the lock is free: until the process is gone.
const (
	Alive = `#!/bin/sh
said=$(setsid "$FLIP_E2E_MARKER" </dev/null 2>&1 &)
[ "$said" = up ] || { echo "the marker says: $said"; exit 1; }
`
	Down = `#!/bin/sh
file="$FLIP_E2E_MARKS/$FLIP_MEMBER.$FLIP_SYSTEM.$1"
if [ -e "$FLIP_E2E_MARKS/down-fails" ]; then echo "down is told to fail"; exit 1; fi
[ -e "$file" ] || exit 0
flock -n "$file" true || kill -9 "$(cat "$file")"
flock -w 3 "$file" true
`
)

// MarkerEnv names the program that Alive starts, which must come to Hold;
// DownFails is the file in the directory that makes Down fail.
const (
	MarkerEnv = "FLIP_E2E_MARKER"
	DownFails = "down-fails"
)
