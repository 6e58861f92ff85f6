package secure

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// Deriving costs a tenth of a second: the tests share two keys.
var (
	keysA = sync.OnceValue(func() *Keys { return mustDerive("key of cluster A") })
	keysB = sync.OnceValue(func() *Keys { return mustDerive("key of cluster B") })
)

func mustDerive(key string) *Keys {
	k, err := Derive([]byte(key))
	if err != nil {
		panic(err)
	}
	return k
}

var (
	n1 = Identity{Name: "n1", Instance: "i1"}
	n2 = Identity{Name: "n2", Instance: "i2"}
)

func sender(name string, process byte) Sender {
	return Sender{Name: fsm.MemberID(name), Instance: "i-" + name, Process: fsm.Nonce{process, 1}}
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// serve runs a Listener on loopback until the test ends.
func serve(t *testing.T, config *tls.Config) *Listener {
	t.Helper()
	return serveAs(t, fixed{config}, io.Discard)
}

func serveAs(t *testing.T, as Credentials, log io.Writer) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := ListenAs(inner, as, zerolog.New(log))
	run(t, l)
	return l
}

// run has a Listener serve until the test ends.
func run(t *testing.T, l *Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
}

// dial connects and does the handshake.
func dial(t *testing.T, l *Listener, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return conn, conn.HandshakeContext(ctx)
}

// echo answers each connection with the first line's bytes it reads.
func echo(t *testing.T, l net.Listener, peers chan<- Identity) {
	t.Helper()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(peers)
				return
			}
			peer, err := PeerOf(conn)
			if err != nil {
				t.Errorf("PeerOf: %v", err)
			}
			peers <- peer
			buf := make([]byte, 16)
			n, _ := conn.Read(buf)
			_, _ = conn.Write(buf[:n])
			_ = conn.Close()
		}
	}()
}

// eventually waits until a count is reached; the Listener has no other event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// lockedLog is what a Listener logs.
type lockedLog struct {
	mu   sync.Mutex
	text []byte
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
