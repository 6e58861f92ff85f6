package gate

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var (
	inetTable = &nftables.Table{Name: "flip-test", Family: nftables.TableFamilyINet}
	arpTable  = &nftables.Table{Name: "flip-test", Family: nftables.TableFamilyARP}
)

// harm is what somebody else may try to do to the tables.
type harm struct {
	name string
	do   func(*testing.T, *nftables.Conn)
}

func harms() []harm {
	accept := func(table *nftables.Table, chain string) func(*testing.T, *nftables.Conn) {
		return func(_ *testing.T, c *nftables.Conn) {
			c.InsertRule(&nftables.Rule{
				Table: table, Chain: &nftables.Chain{Name: chain, Table: table},
				Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}},
			})
		}
	}
	elements := func(family nftables.TableFamily, set string, keys ...[]byte) func(*testing.T, *nftables.Conn) {
		return func(t *testing.T, c *nftables.Conn) {
			var all []nftables.SetElement
			for _, k := range keys {
				all = append(all, nftables.SetElement{Key: k, Timeout: time.Hour})
			}
			must(t, c.SetAddElements(setOf(t, c, family, set), all))
		}
	}
	return []harm{
		{"deletes the inet table", func(_ *testing.T, c *nftables.Conn) { c.DelTable(inetTable) }},
		{"deletes the arp table", func(_ *testing.T, c *nftables.Conn) { c.DelTable(arpTable) }},
		{"flushes the rules", func(_ *testing.T, c *nftables.Conn) { c.FlushTable(inetTable) }},
		{"lets all pass", accept(inetTable, "prerouting")},
		{"lets ARP pass", accept(arpTable, "output")},
		{"opens the gate", elements(nftables.TableFamilyINet, setLease, []byte{2}, []byte{10})},
		{"takes an address out", func(t *testing.T, c *nftables.Conn) {
			must(t, c.SetDeleteElements(setOf(t, c, nftables.TableFamilyINet, setAddr4), []nftables.SetElement{{Key: gated4.AsSlice()}}))
		}},
		{"empties the addresses", func(t *testing.T, c *nftables.Conn) {
			c.FlushSet(setOf(t, c, nftables.TableFamilyARP, setAddr4))
		}},
	}
}

// Under owner and persist a stranger can do nothing to the tables, and flushing
// the whole ruleset passes them by. Control: the stranger's own table is gone.
func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t)
	ps := w.probes()
	g := w.gate(options{}, gated...)
	if !g.Stats().Owned {
		t.Skip("this kernel knows no owner and persist (6.9)")
	}
	for _, h := range harms() {
		c := stranger(t)
		h.do(t, c)
		if err := c.Flush(); !errors.Is(err, unix.EPERM) {
			t.Errorf("somebody %s: %v", h.name, err)
		}
	}
	c := stranger(t)
	c.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyINet})
	must(t, c.Flush())
	c.FlushRuleset()
	must(t, c.Flush())
	if got := names(t, c); !slices.Equal(got, []string{"flip-test", "flip-test"}) {
		t.Errorf("after the ruleset was flushed: %v", got)
	}
	expect(t, "shut", ps, false)
	opened(t, g)
	expect(t, "open", ps, true)
	if n := g.Stats().Repairs; n != 0 {
		t.Errorf("%d repairs", n)
	}
}

func names(t testing.TB, c *nftables.Conn) []string {
	t.Helper()
	tables, err := c.ListTables()
	must(t, err)
	var all []string
	for _, table := range tables {
		all = append(all, table.Name)
	}
	slices.Sort(all)
	return all
}

// What a dead daemon left is taken over: shut although it was open, with the
// addresses that are plumbed now and no others.
func TestTakesOverFromTheDead(t *testing.T) {
	for _, o := range []options{{}, {unowned: true}} {
		w := newWorld(t)
		ps := w.probes()
		dead, err := open(Config{Name: "flip-test"}, []netip.Addr{gated4, gated6, control4}, o)
		must(t, err)
		opened(t, dead)
		must(t, dead.Close())
		expect(t, "control: the dead one's lease runs", ps, true)
		g := w.gate(options{}, gated...)
		expect(t, "taken over", ps, false) // and control4 answers
		c := stranger(t)
		for family, sets := range map[nftables.TableFamily]map[string]int{
			nftables.TableFamilyINet: {setAddr4: 1, setAddr6: 1, setLease: 0, setFuse: 0},
			nftables.TableFamilyARP:  {setAddr4: 1, setLease: 0},
		} {
			for set, want := range sets {
				if n := count(t, c, family, set); n != want {
					t.Errorf("%d elements in %s of family %d, want %d", n, set, family, want)
				}
			}
		}
		opened(t, g)
		expect(t, "open", ps, true)
	}
}

// The tables of a process that lives are not taken.
func TestAnotherLives(t *testing.T) {
	lonely(t)
	first := newGate(t, Config{Name: "flip-test"}, options{})
	if !first.Stats().Owned {
		t.Skip("this kernel knows no owner and persist (6.9)")
	}
	if _, err := Open(Config{Name: "flip-test"}, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("opened a second time: %v", err)
	}
	newGate(t, Config{Name: "flip-other"}, options{}) // control: another name
	if _, err := Open(Config{Name: ""}, nil); err == nil {
		t.Error("opened without a name")
	}
}

// A table with our name that flip did not make is left alone, whichever it is.
func TestForeignTable(t *testing.T) {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP} {
		lonely(t)
		c := stranger(t)
		table := c.AddTable(&nftables.Table{Name: "flip-test", Family: family})
		must(t, c.AddSet(&nftables.Set{Table: table, Name: setLease, KeyType: nftables.TypeIPAddr, Comment: "not flip's"}, nil))
		must(t, c.Flush())
		_, err := Open(Config{Name: "flip-test"}, gated)
		if !errors.Is(err, ErrForeign) {
			t.Errorf("family %d: %v", family, err)
		}
		t.Log(err)
		if got := names(t, c); !slices.Equal(got, []string{"flip-test"}) {
			t.Errorf("family %d: now there are %v", family, got)
		}
		c.DelTable(table)
		must(t, c.Flush())
		newGate(t, Config{Name: "flip-test"}, options{}) // control
	}
}
