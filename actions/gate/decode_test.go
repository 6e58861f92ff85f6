package gate

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDecodeWhatIsEncoded(t *testing.T) {
	var m message
	m.batchBegin()
	m.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, unix.NFPROTO_INET, "flip-x", setLease, 250*time.Millisecond, key{2}, key{10})
	m.batchEnd()
	var kinds []uint16
	for r, err := range replies(m.buf) {
		must(t, err)
		kinds = append(kinds, r.kind)
		if r.kind != subsystem|unix.NFT_MSG_NEWSETELEM {
			continue
		}
		if r.flags&unix.NLM_F_ACK == 0 || r.family != unix.NFPROTO_INET || r.seq != 1 {
			t.Errorf("header %+v", r)
		}
		all := map[string]element{}
		collect(all, r.body)
		if len(all) != 2 || text(find(r.body, unix.NFTA_SET_ELEM_LIST_TABLE)) != "flip-x" {
			t.Errorf("body %x: %v", r.body, all)
		}
		_, two := all[string(key{2})]
		_, ten := all[string(key{10})]
		if !two || !ten {
			t.Errorf("elements %v", all)
		}
	}
	if len(kinds) != 3 || kinds[0] != unix.NFNL_MSG_BATCH_BEGIN || kinds[2] != unix.NFNL_MSG_BATCH_END {
		t.Errorf("kinds %v", kinds)
	}
	m.reset()
	m.nft(unix.NFT_MSG_GETTABLE, 0, 1)
	if m.first != 3 {
		t.Errorf("sequence goes on at %d", m.first)
	}
}

func TestDecodeWhatIsBroken(t *testing.T) {
	var m message
	m.nft(unix.NFT_MSG_GETTABLE, 0, 1)
	m.str(unix.NFTA_TABLE_NAME, "flip-x")
	m.close()
	long := bytes.Clone(m.buf)
	long[0]++
	short := bytes.Clone(m.buf)
	short[0] = 8
	for name, b := range map[string][]byte{
		"cut in the header": m.buf[:10], "longer than all": long, "shorter than a header": short,
		"an error without a number": {18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"no nfgenmsg":               {16, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		failed := false
		for _, err := range replies(b) {
			failed = failed || err != nil
		}
		if !failed {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzDecode reads what the kernel might say, by every way there is.
func FuzzDecode(f *testing.F) {
	var m message
	m.batchBegin()
	m.newTable(tables[0], "flip-x", true, time.Second, nil)
	m.elements(unix.NFT_MSG_NEWSETELEM, 0, unix.NFPROTO_INET, "flip-x", setLease, time.Second, key{2})
	m.batchEnd()
	f.Add(m.buf)
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := watch{name: "flip-x", own: 1}
		var n news
		w.read(b, &n)
		total := 0
		for r, err := range replies(b) {
			if err != nil {
				break
			}
			all := map[string]element{}
			collect(all, r.body)
			for _, e := range all {
				if e.ends < 0 {
					t.Errorf("ends in %s", e.ends)
				}
			}
			total += len(r.body)
			_ = constant(unix.NFT_MSG_GETSET, r.body)
			_ = number(find(r.body, attrTableHandle))
		}
		if total > len(b) {
			t.Errorf("%d bytes of bodies in %d", total, len(b))
		}
	})
}
