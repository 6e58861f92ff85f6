package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/mono"
)

// beServer is a store with replicas, as a program of its own: it claims the system kv on
// the daemon of name in dir, answers who asks it for an item that it is the primary of,
// and writes down what it was told and when it served what. SIGTERM ends it in order.
func beServer(dir, name string) error {
	log, err := os.OpenFile(filepath.Join(dir, name+".history"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s := &store{log: log, has: map[string]map[int]uint64{}}
	s.write("B %d", os.Getpid())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := client.New(filepath.Join(dir, "d", name+".sock"))
	defer c.Close()
	own, err := claim(ctx, c)
	if err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(dir, name+".ask")) // of a former one
	l, err := net.Listen("unix", filepath.Join(dir, name+".ask"))
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	go s.serve(l)
	for e, err := range own.Watch(ctx) {
		if err != nil {
			s.write("E %v", err)
			continue
		}
		s.do(e)
		own.Ack(e)
	}
	s.write("L")
	s.mu.Lock()
	s.has = nil // nobody is answered any more
	s.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return own.Close(last)
}

// claim waits for the daemon.
func claim(ctx context.Context, c *client.Client) (*client.Ownership, error) {
	for {
		own, err := c.Claim(ctx, "kv", client.ClaimOptions{Name: "store", Wait: true})
		if err == nil {
			return own, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// store is what one process has: the tokens of items by rank.
type store struct {
	log *os.File

	mu  sync.Mutex
	has map[string]map[int]uint64
}

// write adds a line to the history. One write(2) each: a process that is killed has
// written what it did.
func (s *store) write(format string, args ...any) {
	if _, err := fmt.Fprintf(s.log, "%d %s\n", mono.Now(), fmt.Sprintf(format, args...)); err != nil {
		panic(err)
	}
}

// do serves an item from after its line on, and until before it.
func (s *store) do(e client.ItemEvent) {
	item := string(e.Item)
	switch e.Kind {
	case client.Acquire:
		s.write("A %s %d %d", item, e.Rank, e.Token)
		s.mu.Lock()
		if s.has[item] == nil {
			s.has[item] = map[int]uint64{}
		}
		s.has[item][e.Rank] = uint64(e.Token)
		s.mu.Unlock()
	case client.Release:
		s.mu.Lock()
		delete(s.has[item], e.Rank)
		s.mu.Unlock()
		s.write("R %s %d %d %s", item, e.Rank, e.Token, e.Cause)
	case client.Renew:
		s.write("T %s %d %d", item, e.Rank, e.Token)
		s.mu.Lock()
		s.has[item][e.Rank] = uint64(e.Token)
		s.mu.Unlock()
	}
}

// serve answers each line, an item, with the token under which it is the primary's; 0:
// it is not.
func (s *store) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			for in := bufio.NewScanner(conn); in.Scan(); {
				s.mu.Lock()
				token := s.has[in.Text()][0]
				s.mu.Unlock()
				if _, err := fmt.Fprintln(conn, token); err != nil {
					return
				}
			}
		}()
	}
}

// asker asks stores.
type asker struct {
	dir   string
	conns map[string]net.Conn
}

func newAsker(dir string) *asker { return &asker{dir: dir, conns: map[string]net.Conn{}} }

func (a *asker) close() {
	for _, c := range a.conns {
		_ = c.Close()
	}
}

var errNoStore = errors.New("nobody answers")

// ask asks one store for an item; 0: it is not its primary.
func (a *asker) ask(name, item string) (token uint64, err error) {
	conn := a.conns[name]
	if conn == nil {
		if conn, err = net.DialTimeout("unix", filepath.Join(a.dir, name+".ask"), time.Second); err != nil {
			return 0, errNoStore
		}
		a.conns[name] = conn
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = fmt.Fprintln(conn, item); err == nil {
		_, err = fmt.Fscanln(conn, &token)
	}
	if err != nil {
		_ = conn.Close()
		delete(a.conns, name)
		return 0, errNoStore
	}
	return token, nil
}

// words are the fields of a history's line behind the time.
func words(line string) (mono.Time, []string) {
	var at mono.Time
	first, rest, _ := strings.Cut(line, " ")
	_, _ = fmt.Sscan(first, &at)
	return at, strings.Fields(rest)
}
