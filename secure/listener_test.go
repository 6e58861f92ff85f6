package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Strangers that send nonsense, nothing at all, or hang up are counted, and
// members get through meanwhile.
func TestStrangersSuffersNobody(t *testing.T) {
	l := serve(t, keysA().Server(n1))
	peers := make(chan Identity, 1)
	echo(t, l.HTTP(), peers)
	connect := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	if _, err := connect().Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = connect().Close()
	// More silent ones than the Listener keeps: the oldest have to go.
	for range maxPending + 10 {
		connect()
	}
	conn, err := dial(t, l, keysA().Client(n2, n1, ProtoHTTP))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, conn)
	eventually(t, "nonsense counted", func() bool { return l.Failures()[FailNotTLS] == 1 })
	eventually(t, "hanging up counted", func() bool { return l.Failures()[FailHungUp] == 1 })
	eventually(t, "crowding counted", func() bool { return l.Failures()[FailCrowded] >= 10 })
}

// A silent stranger is cut off in time. In a bubble: nobody waits five seconds.
func TestSlowStrangerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		l := Listen(pipes, keysA().Server(n1), zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		stranger := pipes.dial()
		begin := time.Now()
		if _, err := io.Copy(io.Discard, stranger); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != handshakeTimeout {
			t.Errorf("cut off after %v", took)
		}
		synctest.Wait()
		if got := l.Failures()[FailSlow]; got != 1 {
			t.Errorf("counted %d", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A protocol nobody accepts holds up only itself.
func TestUnacceptedProtocolHoldsUpOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		l := Listen(pipes, keysA().Server(n1), zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		for range 3 {
			c := tls.Client(pipes.dial(), keysA().Client(n2, n1, ProtoRaft))
			defer func() { _ = c.Close() }()
			go func() { _ = c.Handshake(); _, _ = c.Read(make([]byte, 1)) }()
		}
		peers := make(chan Identity, 1)
		echo(t, l.HTTP(), peers)
		c := tls.Client(pipes.dial(), keysA().Client(n2, n1, ProtoHTTP))
		exchange(t, c)
		_ = c.Close()
		time.Sleep(handshakeTimeout)
		synctest.Wait()
		if got := l.Failures()[FailNotAccepted]; got != 3 {
			t.Errorf("counted %d", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// However it ends, it ends at once: not a moment of the bubble's time passes.
func TestClosing(t *testing.T) {
	for name, stop := range map[string]func(*Listener, context.CancelFunc){
		"context": func(_ *Listener, cancel context.CancelFunc) { cancel() },
		"close":   func(l *Listener, _ context.CancelFunc) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipes := newPipes()
				l := Listen(pipes, keysA().Server(n1), zerolog.Nop())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ended sync.WaitGroup
				ended.Go(func() {
					if err := l.Run(ctx); err != nil {
						t.Errorf("Run: %v", err)
					}
				})
				for _, of := range []net.Listener{l.Raft(), l.HTTP()} {
					ended.Go(func() {
						if _, err := of.Accept(); !errors.Is(err, net.ErrClosed) {
							t.Errorf("Accept: %v", err)
						}
					})
				}
				silent := pipes.dial() // in the midst of its handshake
				synctest.Wait()
				begin := time.Now()
				stop(l, cancel)
				ended.Wait()
				if _, err := silent.Read(make([]byte, 1)); err == nil {
					t.Error("the pending connection lives")
				}
				if took := time.Since(begin); took > 0 {
					t.Errorf("took %v", took)
				}
				if _, err := l.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept later: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Errorf("a second Close: %v", err)
				}
			})
		})
	}
}

// Closing Raft's side alone turns Raft's connections away and leaves HTTP be.
func TestClosingOneSide(t *testing.T) {
	l := serve(t, keysA().Server(n1))
	peers := make(chan Identity, 1)
	echo(t, l.HTTP(), peers)
	if err := l.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	raft, err := dial(t, l, keysA().Client(n2, n1, ProtoRaft))
	if err != nil {
		t.Fatal(err)
	}
	_ = raft.SetReadDeadline(time.Now().Add(patience))
	if _, err := raft.Read(make([]byte, 1)); err == nil {
		t.Error("a connection nobody accepts lives")
	}
	http, err := dial(t, l, keysA().Client(n2, n1, ProtoHTTP))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, http)
}

// The port failing for a moment is counted and got over; its loss ends Run.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		pipes.fail <- errors.New("too many open files")
		l := Listen(pipes, keysA().Server(n1), zerolog.Nop())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(t.Context()) }()
		time.Sleep(acceptPause + 1)
		synctest.Wait()
		if got := l.Failures()[FailAccept]; got != 1 {
			t.Errorf("counted %d", got)
		}
		_ = pipes.Close() // not by us
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestRefusalsAreLoggedSparingly(t *testing.T) {
	var out strings.Builder
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inner.Close() }()
	l := Listen(inner, keysA().Server(n1), zerolog.New(&out))
	for range 100 {
		l.count(FailOtherKey, inner.Addr(), ErrOtherKey)
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
	if got := l.Failures()[FailOtherKey]; got != 100 {
		t.Errorf("counted %d", got)
	}
}

// pipes is a net.Listener for bubbles.
type pipes struct {
	conns  chan net.Conn
	fail   chan error
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), fail: make(chan error, 1), closed: make(chan struct{})}
}

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case err := <-p.fail:
		return nil, err
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A connection whose other side is gone without a word ends by itself, and an
// operator who does not read makes the kernel keep little.
func TestOpenPort(t *testing.T) {
	inner, err := OpenPort(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, keysA().Server(n1), zerolog.Nop())
	run(t, l)
	config := keysA().Operator("a person")
	if _, err := dial(t, l, config); err != nil {
		t.Fatal(err)
	}
	conn, err := l.API().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*guest).secured.raw.(*watched).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ level, option, want int }{
		"the time without an acknowledgement": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(goneAfter.Milliseconds())},
		"the time until it is asked for one":  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(goneAfter.Seconds() / 2)},
		"the buffer":                          {unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * guestBuffer},
	} {
		var got int
		var failed error
		err := raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), c.level, c.option) })
		if err != nil || failed != nil || got != c.want {
			t.Errorf("%s is %d, want %d: %v, %v", name, got, c.want, err, failed)
		}
	}
}
