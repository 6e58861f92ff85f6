package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Age makes a PartNode of the fakes.
func (f *fakeNode) Age() time.Duration { return 0 }

// folding reads one member's stream, now and then, and folds it.
type folding struct {
	w      *drawn
	parts  *Parts
	stream *partStream
	out    *httptest.ResponseRecorder
	member fsm.MemberID
	state  *fsm.State
	index  fsm.Index
	wholes int
	known  *fsm.Spec // the newest configuration
	kept   int
}

func (w *drawn) fold(p *Parts, m fsm.MemberID, instance int) *folding {
	f := &folding{w: w, parts: p, member: m, out: httptest.NewRecorder(), state: fsm.New()}
	r, now, err := p.enter(m, fmt.Sprint(instance))
	if err != nil {
		w.Fatalf("enter: %v", err)
	}
	if w.roll(2) == 0 && r.told.spec == 0 { // it has read elsewhere
		part := w.states[fsm.Index(w.roll(int(w.at)+1))].Part(m, 1)
		if part.Head.Version != 0 {
			has, err := fsm.New().WithPart(part)
			if err != nil {
				w.Fatalf("%v", err)
			}
			f.known, r.told.spec = has.Spec(), has.Spec().Version
		}
	}
	f.stream = &partStream{parts: p, reader: r, w: f.out, rc: http.NewResponseController(f.out), ctx: context.Background()}
	if _, err := f.stream.tell(now, true); err != nil {
		w.Fatalf("tell: %v", err)
	}
	f.take()
	return f
}

// turn reads what there is.
func (f *folding) turn(due bool) {
	if _, err := f.stream.tell(f.parts.take(f.stream.reader), due); err != nil {
		f.w.Fatalf("tell: %v", err)
	}
	f.take()
}

func (f *folding) take() {
	dec := json.NewDecoder(f.out.Body)
	for dec.More() {
		var frame api.PartFrame
		if err := dec.Decode(&frame); err != nil {
			f.w.Fatalf("decode: %v", err)
		}
		if frame.Index < f.index {
			f.w.Fatalf("index %d after %d", frame.Index, f.index)
		}
		f.index = frame.Index
		if frame.Part == nil {
			continue
		}
		part, err := fsm.DecodePart(frame.Part)
		if err != nil {
			f.w.Fatalf("decode: %v", err)
		}
		if part.Since == 0 {
			f.wholes++
		}
		if frame.Kept {
			f.kept++
			if err := api.PutBack(&part, f.known); err != nil {
				f.w.Fatalf("%s at %d: %v", f.member, frame.Index, err)
			}
		}
		if f.state, err = f.state.WithPart(part); err != nil {
			f.w.Fatalf("%s at %d: %v", f.member, frame.Index, err)
		}
	}
	f.out.Body.Reset()
	f.known = f.state.Spec()
	f.check()
}

// check holds what was read against the whole log at that index.
func (f *folding) check() {
	whole := f.w.states[f.index]
	reg, _ := whole.Member(f.member)
	got, want := f.state.Slice(f.member, reg.Epoch, reg.Host.Machine, f.index), whole.Slice(f.member, reg.Epoch, reg.Host.Machine, f.index)
	if !reflect.DeepEqual(got, want) {
		f.w.Fatalf("%s at %d:\n  reads %+v\n  log   %+v", f.member, f.index, got, want)
	}
}

// Whoever reads, however slowly, and however many steps of the log are taken at once:
// folding the frames gives what the log says at the last one's index.
func TestPartsTellAll(t *testing.T) {
	overtaken, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newDrawn(t)
		node := nodeChanged{&fakeNode{state: w.s, at: w.at}}
		p := NewParts(node)
		var all []*folding
		for range rapid.IntRange(20, 80).Draw(t, "commands") {
			w.next()
			if w.roll(3) > 0 {
				node.state, node.at = w.s, w.at
				p.step()
			}
			switch w.roll(6) {
			case 0:
				all = append(all, w.fold(p, pick[fsm.MemberID](w, "n1", "n2", "n3", "nobody"), len(all)))
			case 1, 2:
				if len(all) > 0 {
					pick(w, all...).turn(w.roll(2) == 0)
				}
			}
		}
		node.state, node.at = w.s, w.at
		p.step()
		for _, f := range all {
			f.turn(true)
			if f.index != w.at && f.stream.reader.told.part != f.index {
				t.Fatalf("%s ends at %d of %d", f.member, f.index, w.at)
			}
			f.index = w.at
			f.check()
			overtaken += f.wholes - 1
			kept += f.kept
		}
	})
	if overtaken == 0 || kept == 0 {
		t.Errorf("%d were ever overtaken, %d had the configuration", overtaken, kept)
	}
}

// partDaemon is a voter's members-only side on a unix socket.
func newPartDaemon(t *testing.T, change func(*Parts)) (*daemon, *Parts) {
	t.Helper()
	w := running(t)
	d := &daemon{world: w, node: newWatched(w), socket: filepath.Join(t.TempDir(), "s")}
	p := NewParts(d.node)
	if change != nil {
		change(p)
	}
	l, err := ListenUnix(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.stop = run(t, NewMembers(MembersConfig{
		Log: zerolog.Nop(), Node: d.node, Parts: p, Identify: func(net.Conn) (fsm.MemberID, error) { return "n1", nil },
	}), l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("parts: %v", err)
		}
	})
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}
	d.client = &http.Client{Transport: tr}
	t.Cleanup(tr.CloseIdleConnections)
	return d, p
}

// part opens a stream of n1.
func (d *daemon) part(instance string) *bufio.Reader {
	d.t.Helper()
	resp, err := d.client.Post("http://flip"+api.PathPart, "application/json", strings.NewReader(`{"member":"n1","instance":"`+instance+`"}`))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("part: %s", resp.Status)
	}
	return bufio.NewReader(resp.Body)
}

func frameOf(t *testing.T, lines *bufio.Reader) (f api.PartFrame) {
	t.Helper()
	text, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatalf("read a line: %v", err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return f
}

// deafPart opens a stream of n1 and never reads.
func (d *daemon) deafPart() {
	d.t.Helper()
	c, err := net.Dial("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := c.(*net.UnixConn).SetReadBuffer(1); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	body := `{"member":"n1","instance":"deaf"}`
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: flip\r\nContent-Length: %d\r\n\r\n%s", api.PathPart, len(body), body); err != nil {
		d.t.Fatal(err)
	}
}

// Who never reads loses the stream, and nobody else notices.
func TestADeafReaderHarmsNobody(t *testing.T) {
	d, p := newPartDaemon(t, func(p *Parts) { p.patience = time.Millisecond }) // the lease, then
	live := d.part("live")
	frameOf(t, live)
	d.deafPart()
	for p.Readers() < 2 {
		frameOf(t, live)
	}
	to := []fsm.MemberID{"n2", "n1"}
	for i := 0; i < 200 || p.Readers() > 1; i++ { // until its buffers are full and it is dropped
		at := d.moved(to[i%2])
		for f := frameOf(t, live); f.Index != at; f = frameOf(t, live) {
			if f.Index > at {
				t.Fatalf("who reads got %d, want %d", f.Index, at)
			}
		}
	}
}

// A deaf reader does not hold up a server that stops.
func TestServerStopsWithADeafReader(t *testing.T) {
	d, p := newPartDaemon(t, func(p *Parts) { p.patience = time.Hour })
	live := d.part("live")
	frameOf(t, live)
	d.deafPart()
	to := []fsm.MemberID{"n2", "n1"}
	for i := range 600 {
		at := d.moved(to[i%2])
		for f := frameOf(t, live); f.Index < at; {
			f = frameOf(t, live)
		}
	}
	if p.Readers() != 2 {
		t.Fatalf("%d read", p.Readers())
	}
	began := time.Now()
	if err := d.stop(); err != nil || time.Since(began) > time.Second {
		t.Errorf("stopped with %v after %v", err, time.Since(began))
	}
}

// lateNode lets a test do something while a step is compared.
type lateNode struct {
	nodeChanged
	meanwhile func()
}

func (n *lateNode) Leader() (fsm.MemberID, string) {
	n.meanwhile()
	return n.nodeChanged.Leader()
}

// As long as nobody reads nothing is compared; who comes in while that is found out
// misses nothing.
func TestWhoComesInDuringAStep(t *testing.T) {
	w := running(t)
	node := &lateNode{nodeChanged{&fakeNode{state: w.s, at: w.at}}, func() {}}
	p := NewParts(node)
	var r *reader
	node.meanwhile = func() {
		in, now, err := p.enter("n1", "i")
		if err != nil || now.at != w.at-1 {
			t.Errorf("entered at %d, %v", now.at, err)
		}
		r = in
	}
	w.move("ip", "a", "n2")
	node.state, node.at = w.s, w.at
	p.step()
	if now := p.take(r); !now.anew || now.at != w.at {
		t.Errorf("it is told %+v", now)
	}
	node.meanwhile = func() {}
	w.move("ip", "a", "n1")
	node.state, node.at = w.s, w.at
	p.step()
	if now := p.take(r); now.anew || len(now.steps) != 1 {
		t.Errorf("then it is told %+v", now)
	}
}

func TestPartsAreBounded(t *testing.T) {
	w := running(t)
	p := NewParts(newWatched(w))
	p.most = 2
	one, _, err := p.enter("n1", "i")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.enter("n2", "i"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.enter("n3", "i"); api.CodeOf(err) != api.CodeBusy {
		t.Errorf("a third: %v", err)
	}
	again, _, err := p.enter("n1", "i")
	if err != nil {
		t.Errorf("in its own place: %v", err)
	}
	select {
	case <-one.over:
	default:
		t.Error("the older one goes on")
	}
	p.leave(one) // late: it is not there any more
	if p.Readers() != 2 {
		t.Errorf("%d read", p.Readers())
	}
	p.leave(again)
	if _, _, err := p.enter("n3", "i"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	p.Serve(false)
	if _, _, err := p.enter("n1", "i"); api.CodeOf(err) != api.CodeUnavailable || p.Readers() != 0 {
		t.Errorf("off: %v, %d read", err, p.Readers())
	}
}

func FuzzPartRequest(f *testing.F) {
	f.Add([]byte(`{"member":"n1","instance":"i","have":0}`))
	f.Add([]byte(`{"member":"n1","have":18446744073709551615}`))
	f.Add([]byte(`{"member":"n2"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		node := nodeChanged{&fakeNode{state: fsm.New()}}
		h := NewMembers(MembersConfig{
			Log: zerolog.Nop(), Node: node, Parts: NewParts(node), Identify: func(net.Conn) (fsm.MemberID, error) { return "n1", nil },
		}).http.Handler
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", api.PathPart, bytes.NewReader(body)).WithContext(ctx))
		if w.Code == 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer %d %q", w.Code, w.Body)
		}
	})
}
