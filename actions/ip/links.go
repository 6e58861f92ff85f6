package ip

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/flip-ha/flip/actions/netif"
)

// linkSet is the links of one moment; it is never changed.
type linkSet struct {
	list   []netif.Link // by index
	byName map[string]netif.Link
}

func (s *linkSet) index(i int) (netif.Link, bool) {
	at, ok := slices.BinarySearchFunc(s.list, i, func(l netif.Link, i int) int { return cmp.Compare(l.Index, i) })
	if !ok {
		return netif.Link{}, false
	}
	return s.list[at], true
}

func sameLink(a, b netif.Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Up == b.Up && a.Carrier == b.Carrier && bytes.Equal(a.MAC, b.MAC)
}

// find is a link as it is now: one that was deleted and made anew has another
// index.
func (f *fitness) find(l netif.Link) (netif.Link, bool) {
	if now, ok := f.links.Load().index(l.Index); ok {
		return now, true
	}
	now, ok := f.links.Load().byName[l.Name]
	return now, ok
}

// current is a link as it is now, or as it was last known.
func (f *fitness) current(l netif.Link) netif.Link {
	if now, ok := f.find(l); ok {
		return now
	}
	return l
}

// ours says whether a MAC is one of this machine's: Linux may answer for an
// address by any of its links on the same segment.
func (f *fitness) ours(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(f.links.Load().list, func(l netif.Link) bool { return bytes.Equal(l.MAC, mac) })
}

// linkName names a link in messages.
func (d *Driver) linkName(index int) string {
	if l, ok := d.fit.links.Load().index(index); ok {
		return l.Name
	}
	return fmt.Sprintf("interface %d", index)
}

// findLink is the link on which an address is plumbed. For a thousand addresses in
// a few subnets the picture is searched a few times only: it holds all those
// addresses too.
func (d *Driver) findLink(p netip.Prefix, name string) (netif.Link, error) {
	if name != "" {
		return d.cfg.Links.Find(p, name)
	}
	d.mu.Lock()
	var key []byte
	for i, a := range d.fit.own {
		if !a.Prefix.IsSingleIP() && a.Prefix.Addr() != p.Addr() && a.Prefix.Contains(p.Addr()) {
			key = binary.AppendUvarint(key, uint64(i))
		}
	}
	l, ok := d.fit.subnets[string(key)]
	looks := d.fit.looks
	d.mu.Unlock()
	if ok {
		return d.fit.current(l), nil
	}
	l, err := d.cfg.Links.Find(p, "")
	if err != nil {
		return l, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if looks == d.fit.looks && len(key) > 0 {
		d.fit.subnets[string(key)] = l
	}
	return l, nil
}
