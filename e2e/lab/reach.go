package lab

import (
	"net"
	"net/netip"
	"time"
)

func (h *Host) addr(n Networks) netip.Addr {
	if n == Cluster {
		return h.Cluster
	}
	return h.Addr4
}

// reaches reports whether the echo at addr answers one of `times` questions,
// each within the limit.
func (h *Host) reaches(addr netip.Addr, times int, limit time.Duration) bool {
	_, ok := h.Ask(addr, times, limit)
	return ok
}

// Ask asks the echo at addr from this host and returns who answered.
func (h *Host) Ask(addr netip.Addr, times int, limit time.Duration) (who string, ok bool) {
	var conn *net.UDPConn
	err := h.Space.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, EchoPort)))
		return err
	})
	if err != nil {
		return "", false // no route: as unreachable as can be
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 256)
	for i := range times {
		deadline := time.Now().Add(limit)
		_ = conn.SetDeadline(deadline)
		question := []byte{byte(i)}
		if _, err := conn.Write(question); err != nil {
			waitUntil(deadline)
			continue
		}
		for {
			n, err := conn.Read(buf)
			if err != nil {
				waitUntil(deadline) // a refusal comes at once
				break
			}
			if n > 1 && buf[0] == question[0] {
				return string(buf[1:n]), true
			}
		}
	}
	return "", false
}

// waitUntil lets the rest of a question's time pass.
func waitUntil(t time.Time) {
	if d := time.Until(t); d > 0 {
		<-time.After(d)
	}
}
