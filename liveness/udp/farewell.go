package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// FarewellConfig says for whom a Farewell speaks.
type FarewellConfig struct {
	Member  fsm.MemberID
	Host    fsm.Host
	Process fsm.Nonce // the dead one's, which the goodbye names
	Key     []byte    // secure.KeySet.Handover
	Nonce   fsm.Nonce // of the process that speaks
	Log     zerolog.Logger
}

// Farewell says goodbye for a process that is dead, from its socket, to where the
// voters are, and hears what they acknowledge. Until the first Say it neither
// reads nor writes: the socket is that process's. All methods may be called from
// any goroutine; none but Listen waits for the network.
type Farewell struct {
	cfg FarewellConfig
	box *secure.Box

	mu      sync.Mutex
	file    *os.File
	conn    net.PacketConn // once something was said
	cluster string
	addrs   map[fsm.MemberID]string
	known   map[string]netip.AddrPort
}

// NewFarewell makes a Farewell that owns the socket.
func NewFarewell(cfg FarewellConfig, socket *os.File) (*Farewell, error) {
	if socket == nil {
		return nil, errors.New("say goodbye: no socket was handed over")
	}
	box, err := secure.BoxOf(cfg.Key, secure.Sender{Name: cfg.Member, Instance: cfg.Host.Instance, Process: cfg.Nonce})
	if err != nil {
		return nil, fmt.Errorf("say goodbye: %w", err)
	}
	return &Farewell{cfg: cfg, box: box, file: socket, known: map[string]netip.AddrPort{}}, nil
}

// Peers says who is to hear a goodbye, and where they are. Names are looked up at
// once, for there may be no time for it later.
func (f *Farewell) Peers(cluster string, addrs map[fsm.MemberID]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cluster, f.addrs = cluster, addrs
	for _, a := range addrs {
		if _, ok := f.known[a]; ok {
			continue
		}
		if p, err := netip.ParseAddrPort(a); err == nil {
			f.known[a] = p
			continue
		}
		go f.lookUp(a)
	}
}

func (f *Farewell) lookUp(addr string) {
	u, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		f.cfg.Log.Warn().Err(err).Str("addr", addr).Msg("a voter's address is not known: a goodbye would not reach it")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[addr] = u.AddrPort()
}

// Rekey goes on with what a later secure.KeySet.Handover gave.
func (f *Farewell) Rekey(key []byte) error {
	if err := f.box.Rekey(key); err != nil {
		return fmt.Errorf("say goodbye: %w", err)
	}
	return nil
}

// Say sends a goodbye to every voter: of the dead process, with the newest epoch
// that it knew to be its own, and what is not released of it. While the key is being
// rotated it goes out once under each: by which one the voters go by now a dead
// process's guard cannot know.
func (f *Farewell) Say(epoch fsm.Epoch, kept []fsm.Key) error {
	bye := liveness.Goodbye{Dead: true, Goodbye: fsm.Goodbye{
		Member: f.cfg.Member, Host: f.cfg.Host, Process: f.cfg.Process, Epoch: epoch, Kept: kept,
	}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return err
	}
	var errs []error
	for name, at := range f.addrs {
		if name == f.cfg.Member {
			continue
		}
		addr, ok := f.known[at]
		if !ok {
			errs = append(errs, fmt.Errorf("say goodbye to %s: %s is not known", name, at))
			go f.lookUp(at)
			continue
		}
		raw, err := encode(packet{cluster: f.cluster, to: name, kind: kindGoodbye, msg: bye})
		if err != nil {
			return err // for all the same
		}
		for _, sealed := range f.box.SealAll(raw) {
			if _, err := f.conn.WriteTo(sealed, net.UDPAddrFromAddrPort(addr)); err != nil {
				errs = append(errs, fmt.Errorf("say goodbye to %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// open begins to use the socket.
func (f *Farewell) open() error {
	if f.conn != nil {
		return nil
	}
	conn, err := net.FilePacketConn(f.file)
	if err != nil {
		return fmt.Errorf("take over the heartbeat socket: %w", err)
	}
	f.conn = conn
	return nil
}

// Listen hands on each acknowledgement, by how many items it calls kept, until
// the Farewell is closed. It is for after the first Say.
func (f *Farewell) Listen(acked func(kept int)) {
	f.mu.Lock()
	err := f.open()
	conn := f.conn
	f.mu.Unlock()
	if err != nil {
		f.cfg.Log.Error().Err(err).Msg("no answer to a goodbye can be heard")
		return
	}
	buf := make([]byte, readSize)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(errorRest) // it passes, such as want of memory
			continue
		}
		if kept, ok := f.ack(buf[:n]); ok {
			acked(kept)
		}
	}
}

// ack reads a datagram: is it an answer to the goodbye?
func (f *Farewell) ack(datagram []byte) (kept int, ok bool) {
	_, body, err := f.box.Open(datagram)
	if err != nil {
		return 0, false
	}
	p, err := decode(body)
	if err != nil || p.to != f.cfg.Member {
		return 0, false
	}
	a, ok := p.msg.(liveness.GoodbyeAck)
	return a.Kept, ok && a.Process == f.cfg.Process
}

// Close gives up the socket.
func (f *Farewell) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.file.Close()
	if f.conn != nil {
		err = errors.Join(err, f.conn.Close())
	}
	return err
}
