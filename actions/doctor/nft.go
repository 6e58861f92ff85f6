package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What x/sys/unix does not have of linux/netfilter/nf_tables.h.
const (
	attrTable = 1 // in the messages of chains, sets, rules and flowtables alike
	attrName  = 2
	attrExprs = 4 // NFTA_RULE_EXPRESSIONS
	attrHook  = 3 // NFTA_FLOWTABLE_HOOK
	attrDevs  = 3 // NFTA_FLOWTABLE_HOOK_DEVS
	attrFlags = 7 // NFTA_FLOWTABLE_FLAGS
	hwOffload = 0x1
	attrElems = 3 // NFTA_SET_ELEM_LIST_ELEMENTS
)

// countLimit bounds the reading of others' sets.
const countLimit = 2 * time.Second

// Ruleset is what a host's nf_tables hold besides the gate.
type Ruleset struct {
	Tables, Rules, Sets, Elements int
	More                          bool // elements were not counted to their end
	Took                          time.Duration
	Flowtables                    []Flowtable
	Forwards                      int // rules that hand packets to another interface before all hooks
}

// Flowtable forwards established connections past the hooks.
type Flowtable struct {
	Table, Name string
	Devices     []string
	Hardware    bool
}

// ErrNoTables says that the kernel has no nf_tables.
var ErrNoTables = errors.New("the kernel has no nf_tables")

// ReadRuleset reads the ruleset of the network namespace of the calling thread,
// without the tables named own. It needs CAP_NET_ADMIN.
func ReadRuleset(own string) (Ruleset, error) {
	var r Ruleset
	began := time.Now()
	type set struct {
		family      byte
		table, name string
	}
	var sets []set
	reads := []struct {
		kind int
		take func(family byte, body []byte)
	}{
		{unix.NFT_MSG_GETTABLE, func(byte, []byte) { r.Tables++ }},
		{unix.NFT_MSG_GETRULE, func(_ byte, body []byte) {
			r.Rules++
			if forwards(body) {
				r.Forwards++
			}
		}},
		{unix.NFT_MSG_GETSET, func(family byte, body []byte) {
			r.Sets++
			sets = append(sets, set{family, text(find(body, attrTable)), text(find(body, attrName))})
		}},
		{unix.NFT_MSG_GETFLOWTABLE, func(_ byte, body []byte) { r.Flowtables = append(r.Flowtables, flowtable(body)) }},
	}
	for _, read := range reads {
		err := dump(read.kind, unix.AF_UNSPEC, nil, func(family byte, body []byte) bool {
			if text(find(body, attrTable)) != own {
				read.take(family, body)
			}
			return true
		})
		if err != nil {
			return r, err
		}
	}
	for _, s := range sets {
		names := []*nl.RtAttr{nl.NewRtAttr(attrTable, nl.ZeroTerminated(s.table)), nl.NewRtAttr(attrName, nl.ZeroTerminated(s.name))}
		err := dump(unix.NFT_MSG_GETSETELEM, s.family, names, func(_ byte, body []byte) bool {
			for range attrs(find(body, attrElems)) {
				r.Elements++
			}
			r.More = time.Since(began) > countLimit
			return !r.More
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // it has gone meanwhile
			return r, err
		}
		if r.More {
			break
		}
	}
	r.Took = time.Since(began)
	return r, nil
}

// dump hands what the kernel lists to take, until that says false. A list that
// somebody changes meanwhile is good enough to count by.
func dump(kind int, family byte, data []*nl.RtAttr, take func(family byte, body []byte) bool) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family})
	for _, d := range data {
		req.AddData(d)
	}
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(msg []byte) bool {
		const header = 4 // struct nfgenmsg
		return len(msg) < header || take(msg[0], msg[header:])
	})
	switch {
	case err == nil, errors.Is(err, netlink.ErrDumpInterrupted):
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (%w)", ErrNoTables, err)
	default:
		return fmt.Errorf("list the packet filter: %w", err)
	}
}

// forwards reports whether a rule has the expression `fwd`, which exists in the
// netdev family only.
func forwards(rule []byte) bool {
	for _, expr := range attrs(find(rule, attrExprs)) {
		if text(find(expr, 1)) == "fwd" {
			return true
		}
	}
	return false
}

func flowtable(body []byte) Flowtable {
	f := Flowtable{Table: text(find(body, attrTable)), Name: text(find(body, attrName))}
	for _, dev := range attrs(find(find(body, attrHook), attrDevs)) {
		f.Devices = append(f.Devices, text(dev))
	}
	if flags := find(body, attrFlags); len(flags) == 4 {
		f.Hardware = binary.BigEndian.Uint32(flags)&hwOffload != 0
	}
	slices.Sort(f.Devices)
	return f
}

// attrs yields the attributes of b and stops at the first that is not whole.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.NLA_HDRLEN || length > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.NLA_HDRLEN:length]) {
				return
			}
			b = b[min(len(b), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}

func find(b []byte, kind uint16) []byte {
	for k, data := range attrs(b) {
		if k == kind {
			return data
		}
	}
	return nil
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
