package fsm

import (
	"fmt"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Apply is the State after one entry of the log, and the answer to its
// proposer. A command that is refused changes nothing, and neither does one
// that is unknown but may be skipped. The error is ErrUnknownCommand, or says
// that the bytes cannot be read: this replica must not go on.
func (s *State) Apply(at Index, cmd []byte) (*State, Result, error) {
	c, err := Decode(cmd)
	if err != nil {
		return s, Result{}, fmt.Errorf("apply entry %d: %w", at, err)
	}
	batch, ok := c.(Batch)
	if !ok {
		next, res := s.apply(at, c)
		return next, res, nil
	}
	return s.applyBatch(at, batch)
}

// applyBatch reads all of the batch before it applies any of it: an entry is
// applied whole or the replica stops in front of it.
func (s *State) applyBatch(at Index, b Batch) (*State, Result, error) {
	cmds := make([]Command, 0, len(b.Commands))
	for i, raw := range b.Commands {
		c, err := Decode(raw)
		if err != nil {
			return s, Result{}, fmt.Errorf("apply entry %d, number %d: %w", at, i, err)
		}
		cmds = append(cmds, c)
	}
	next, res := s, Result{Applied: true}
	for _, c := range cmds {
		var each Result
		next, each = next.apply(at, c)
		res.Each = append(res.Each, each)
	}
	return next, res, nil
}

func (s *State) apply(at Index, cmd Command) (*State, Result) {
	c := s.begin(at)
	res := c.do(cmd)
	if _, probe := cmd.(Probe); probe || !res.Applied {
		return s, res
	}
	return c.end(), res
}

// change is a State in the making. A refused command throws it away, whatever
// it has done to it by then.
//
// While an entry is being applied nobody sees what it has done so far. So a
// token given under the very same index has never been acted on: taking it back
// leaves no entry.
type change struct {
	next     State
	at       Index
	when     int64
	members  *iradix.Txn[Member]
	slots    *iradix.Txn[*Slot]
	owned    *iradix.Txn[*owned]
	held     *iradix.Txn[struct{}]
	braked   *iradix.Txn[struct{}]
	failures *iradix.Txn[Failure]
	book     book
	edit     *edit
}

func (s *State) begin(at Index) *change {
	return &change{
		next: *s, at: at, members: s.members.Txn(), slots: s.slots.Txn(), owned: s.owned.Txn(), held: s.held.Txn(),
		braked: s.braked.Txn(), failures: s.failures.Txn(), book: s.openBook(), edit: new(edit),
	}
}

func (c *change) do(cmd Command) Result {
	switch cmd := cmd.(type) {
	case Register:
		return c.register(cmd)
	case Settle:
		return c.settle(cmd)
	case Down:
		return c.down(cmd)
	case Assign:
		return c.assign(cmd)
	case Report:
		return c.report(cmd)
	case Leave:
		return c.leave(cmd)
	case Force:
		return c.force(cmd)
	case Fence:
		return c.fence(cmd)
	case SetSpec:
		return c.setSpec(cmd)
	case RemoveMember:
		return c.removeMember(cmd)
	case Goodbye:
		return c.goodbye(cmd)
	case Cleanup:
		return c.cleanup(cmd)
	case Maintain:
		return c.maintain(cmd)
	case Rotate, KeyAck, KeyGo:
		return c.ofKey(cmd)
	case Probe:
		return done
	case Unknown:
		return refused("this version does not know command 0x%02x and skips it", cmd.Kind)
	case Batch:
		return refused("a batch cannot contain a batch")
	default:
		return refused("this version has no rule for command 0x%02x", cmd.Type())
	}
}

func (c *change) end() *State {
	n := c.next
	n.members, n.slots, n.owned = c.members.CommitOnly(), c.slots.CommitOnly(), c.owned.CommitOnly()
	n.held, n.braked = c.held.CommitOnly(), c.braked.CommitOnly()
	n.failures, n.journal = c.failures.CommitOnly(), c.closeBook()
	return &n
}

var done = Result{Applied: true}

func refused(format string, args ...any) Result {
	return Result{Why: fmt.Sprintf(format, args...)}
}

func (c *change) member(id MemberID) (Member, bool) { return c.members.Get([]byte(id)) }

func (c *change) setMember(id MemberID, m Member) { c.members.Insert([]byte(id), m) }

func (c *change) slot(k Key) (*Slot, bool) { return c.slots.Get(slotKey(k)) }

// put stores a slot that nobody else refers to yet. One that says nothing any
// more, because its item is not in the Spec, goes.
func (c *change) put(n *Slot) {
	if len(n.Outstanding) == 0 {
		n.Outstanding = nil
	}
	if n.Seen != nil && (n.Seen.Token != n.Token || n.Owner == "") { // of another owner
		n.Seen = nil
	}
	key := slotKey(n.Key)
	var old *Slot
	if _, in := c.next.spec.slotted(n.Key); !in && n.Owner == "" && n.Outstanding == nil {
		old, _ = c.slots.Delete(key)
		c.index(old, nil)
	} else {
		old, _ = c.slots.Insert(key, n)
		c.index(old, n)
	}
	switch {
	case n.Braked:
		c.braked.Insert(key, struct{}{})
	case old != nil && old.Braked:
		c.braked.Delete(key)
	}
	if old != nil {
		for _, e := range old.Outstanding {
			if !names(n.Outstanding, e.Member) {
				c.held.Delete(memberKey(e.Member, n.Key))
			}
		}
	}
	for _, e := range n.Outstanding {
		if old == nil || !names(old.Outstanding, e.Member) {
			c.held.Insert(memberKey(e.Member, n.Key), struct{}{})
		}
	}
}

func names(entries []Entry, m MemberID) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Member == m })
}

// outstandingOf is every slot with an entry of the member, by key. It is a list
// and not an iterator: the caller changes the tree.
func (c *change) outstandingOf(m MemberID) []*Slot {
	prefix := appendPart(nil, string(m))
	var out []*Slot
	c.held.Root().WalkPrefix(prefix, func(k []byte, _ struct{}) bool {
		if slot, ok := c.slots.Get(k[len(prefix):]); ok {
			out = append(out, slot)
		}
		return false
	})
	return out
}

// clear removes the entries of a member that match and says how many.
func (c *change) clear(m MemberID, match func(Key, Entry) bool) int {
	count := 0
	for _, slot := range c.outstandingOf(m) {
		left := make([]Entry, 0, len(slot.Outstanding))
		for _, e := range slot.Outstanding {
			if e.Member != m || !match(slot.Key, e) {
				left = append(left, e)
			}
		}
		if len(left) == len(slot.Outstanding) {
			continue
		}
		count += len(slot.Outstanding) - len(left)
		n := *slot
		n.Outstanding = left
		c.put(&n)
	}
	return count
}
