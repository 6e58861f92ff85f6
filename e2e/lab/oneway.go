package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/flip-ha/flip/e2e/mono"
)

// Way is a direction in which a host can be cut off.
type Way uint8

// The two ways.
const (
	Unheard Way = iota // hears the others and is not heard
	Deaf               // is heard and does not hear
)

// oneWay are the ports between which the bridges drop what goes one way: by rules
// that look a port up in a set, so that a cut is one element more.
type oneWay struct {
	table *nftables.Table
	sets  [2]*nftables.Set // by Way
}

// nft opens nf_tables in the namespace.
func (s *Space) nft() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(s.fd)))
	if err != nil {
		return nil, fmt.Errorf("nf_tables of %s: %w", s.Name, err)
	}
	return c, nil
}

// buildOneWay makes the rules. What the watcher sends it sends on the port
// itself: the bridge forwards none of it, and so it passes.
func (l *Lab) buildOneWay(c *nftables.Conn) error {
	table := c.AddTable(&nftables.Table{Name: "cut", Family: nftables.TableFamilyBridge})
	chain := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	o := &oneWay{table: table}
	for way, key := range map[Way]expr.MetaKey{Unheard: expr.MetaKeyIIF, Deaf: expr.MetaKeyOIF} {
		set := &nftables.Set{Table: table, Name: fmt.Sprintf("way%d", way), KeyType: nftables.TypeIFIndex}
		if err := c.AddSet(set, nil); err != nil {
			return fmt.Errorf("set of the ports that are cut one way: %w", err)
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: key, Register: 1},
			&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		o.sets[way] = set
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("%w: nf_tables on a bridge: %w", ErrUnavailable, err)
	}
	l.oneWay = o
	return nil
}

// CutOneWay has the bridges drop what hosts send, or what is sent to them. It
// returns the moment before the cut, once the cut has been seen;
// ErrUnavailable: this kernel cannot.
func (l *Lab) CutOneWay(way Way, nets Networks, hosts ...*Host) (mono.Time, error) {
	c, err := l.Wires.nft()
	if err != nil {
		return 0, err
	}
	if l.oneWay == nil {
		if err := l.buildOneWay(c); err != nil {
			return 0, err
		}
	}
	how := func(_ *netlink.Handle, port netlink.Link) error {
		index := binary.NativeEndian.AppendUint32(nil, uint32(port.Attrs().Index))
		if err := c.SetAddElements(l.oneWay.sets[way], []nftables.SetElement{{Key: index}}); err != nil {
			return err
		}
		return c.Flush()
	}
	return l.cut(nets, hosts, how, true)
}

// healOneWay lets everything pass both ways again.
func (l *Lab) healOneWay() error {
	if l.oneWay == nil {
		return nil
	}
	c, err := l.Wires.nft()
	if err != nil {
		return err
	}
	for _, set := range l.oneWay.sets {
		c.FlushSet(set)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("heal the cuts of one way: %w", err)
	}
	return nil
}
