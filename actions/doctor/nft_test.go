package doctor

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nest is an attribute with others inside.
func nest(kind int, inner ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, i := range inner {
		a.AddChild(i)
	}
	return a
}

func bytesOf(all ...*nl.RtAttr) []byte {
	var b []byte
	for _, a := range all {
		b = append(b, a.Serialize()...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func TestFlowtableMessage(t *testing.T) {
	z := nl.ZeroTerminated
	body := bytesOf(
		nl.NewRtAttr(1, z("filter")), nl.NewRtAttr(2, z("ft")),
		nest(3, nl.NewRtAttr(1, []byte{0, 0, 0, 0}), nl.NewRtAttr(2, []byte{0, 0, 0, 0}), nest(3, nl.NewRtAttr(1, z("eth1")), nl.NewRtAttr(1, z("eth0")))),
		nl.NewRtAttr(7, []byte{0, 0, 0, 1}),
	)
	f := flowtable(body)
	if f.Table != "filter" || f.Name != "ft" || !slices.Equal(f.Devices, []string{"eth0", "eth1"}) || !f.Hardware {
		t.Errorf("%+v", f)
	}
	// No message, however torn, is read beyond its end.
	for i := range body {
		flowtable(body[:i:i])
		forwards(body[:i:i])
	}
}

func TestReadRuleset(t *testing.T) {
	inNamespace(t)
	empty, err := ReadRuleset("flip-n1")
	if errors.Is(err, ErrNoTables) {
		t.Skip(err)
	}
	if err != nil || empty.Tables+empty.Rules+empty.Elements != 0 {
		t.Fatalf("%+v, %v", empty, err)
	}
	c, err := nftables.New()
	must(t, err)
	for _, name := range []string{"theirs", "flip-n1"} {
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
		chain := c.AddChain(&nftables.Chain{Name: "c", Table: table})
		for range 3 {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		}
		set := &nftables.Set{Table: table, Name: "s", KeyType: nftables.TypeInteger}
		var elements []nftables.SetElement
		for i := range 1000 {
			elements = append(elements, nftables.SetElement{Key: []byte{0, 0, byte(i >> 8), byte(i)}})
		}
		must(t, c.AddSet(set, elements))
	}
	must(t, c.Flush())

	r, err := ReadRuleset("flip-n1")
	must(t, err)
	if r.Tables != 1 || r.Rules != 3 || r.Sets != 1 || r.Elements != 1000 || r.More || r.Forwards != 0 || len(r.Flowtables) != 0 || r.Took <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestForwards(t *testing.T) {
	rule := func(names ...string) []byte {
		list := nl.NewRtAttr(attrExprs|unix.NLA_F_NESTED, nil)
		for _, name := range names {
			list.AddChild(nest(1, nl.NewRtAttr(1, nl.ZeroTerminated(name))))
		}
		return bytesOf(nl.NewRtAttr(1, nl.ZeroTerminated("t")), list)
	}
	if !forwards(rule("immediate", "fwd")) || forwards(rule("immediate", "dup")) || forwards(nil) {
		t.Error("a forwarding rule is told by its expression fwd")
	}
}
