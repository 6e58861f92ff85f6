package netif

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// batchSize is how many addresses go to the kernel by one call: their failures
// all fit the socket's buffer, and more gain nothing.
const batchSize = 100

// batchSix is how many of these may be of IPv6: among 1,000 the kernel takes
// 1 to 1.5 ms to add one, and somebody else's refresh waits for a whole batch.
const batchSix = 10

// readyLimit is for how long no IPv6 address of an Add may become ready until
// it gives up. 1,000 take up to 1.5 s altogether.
const readyLimit = 2 * time.Second

// Add plumbs addresses, or refreshes them if they are there, and returns when
// the picture shows them. The answer has one error for each, nil where it was
// done; one failure does not keep the others from being done.
//
// Each needs a mark and a lifetime (ErrUnmarked), which is rounded up to the
// kernel's unit of a second. What is there already without a mark or for ever,
// whoever put it there, gets both. IPv6 keeps one address of a kind on a link: one
// with another length is replaced. No duplicate is looked for, and IPv6
// addresses are deprecated from the start: of use to whoever asks for them, but
// never a source that the kernel chooses.
//
// Kernels before 5.18 keep no mark. The first Add finds out (KeepsMarks); then
// the label marks IPv4 addresses on links whose name is not over 8 characters.
// All others are known as flip's to this Net and, through Remember, to the next
// process that a list of them was left to.
func (n *Net) Add(addrs []Address) []error {
	errs := make([]error, len(addrs))
	var todo []job
	for i, a := range addrs {
		if errs[i] = a.check(); errs[i] == nil {
			key := plainKey(a.Link, a.Prefix)
			todo = append(todo, job{i: i, key: key, mark: a.Mark, valid: a.Valid.Truncate(time.Second)})
			if rest := a.Valid % time.Second; rest > 0 {
				todo[len(todo)-1].valid += time.Second
			}
		}
	}
	if len(todo) > 0 && n.keeping() == untried {
		n.sendAdds(todo[:1], errs, false)
		n.follow(todo[:1], errs)
	}
	n.sendAll(todo, errs, false)
	n.follow(todo, errs)
	return errs
}

// check tells what no address of flip's may be.
func (a Address) check() error {
	switch {
	case !a.Prefix.IsValid() || a.Prefix.Addr().IsUnspecified() || a.Prefix.Addr().IsMulticast():
		return fmt.Errorf("add %s: not an address of a host", a.Prefix)
	case !a.Mark.ours():
		return fmt.Errorf("add %s: mark %#x: %w", a.Prefix, uint8(a.Mark), ErrUnmarked)
	case a.Valid <= 0 || a.Valid/time.Second >= time.Duration(forever)-1:
		return fmt.Errorf("add %s: lifetime %s: %w", a.Prefix, a.Valid, ErrUnmarked)
	default:
		return nil
	}
}

// job is one address to be added; valid is in whole seconds.
type job struct {
	i     int // its place in what Add was given
	key   addrKey
	mark  Mark
	valid time.Duration
}

// KeepsMarks reports whether the kernel keeps IFA_PROTO; true as long as
// nothing was added.
func (n *Net) KeepsMarks() bool { return n.keeping() != losesMarks }

func (n *Net) keeping() keeping {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.picture.keeping
}

// Remember tells which addresses a former process has plumbed. They count as
// marked if they are there and the kernel keeps no marks; elsewhere it does
// nothing.
func (n *Net) Remember(addrs []Address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		key := plainKey(a.Link, a.Prefix)
		if e, ok := n.picture.addrs[key]; ok && a.Mark.ours() {
			n.picture.claims[key] = claim{mark: a.Mark, until: e.until}
		}
	}
}

// follow waits until the picture shows what was added, and does again what the
// kernel has not done as asked.
func (n *Net) follow(jobs []job, errs []error) {
	n.awaitReady(jobs, errs)
	var again []job
	n.mu.Lock()
	n.learnKeeping(jobs, errs)
	for _, j := range jobs {
		if errs[j.i] == nil && n.otherwise(j) {
			again = append(again, j)
		}
	}
	n.mu.Unlock()
	n.sendAll(again, errs, true)
	n.awaitReady(again, errs)
}

// awaitReady waits for IPv6 addresses: the kernel answers a request, and lets
// a worker of its own make the address ready, and tell of it, later.
func (n *Net) awaitReady(jobs []job, errs []error) {
	since := time.Now()
	for before := len(jobs); ; {
		n.mu.Lock()
		n.drain()
		waiting := jobs[:0:0]
		for _, j := range jobs {
			if errs[j.i] == nil && n.unready(j) {
				waiting = append(waiting, j)
			}
		}
		closed := n.closed
		n.mu.Unlock()
		if len(waiting) == 0 || closed {
			return
		}
		if len(waiting) < before {
			before, since = len(waiting), time.Now()
		} else if time.Since(since) > readyLimit {
			for _, j := range waiting {
				errs[j.i] = fmt.Errorf("add %s: the kernel has not made it ready in %s", j.key.prefix, readyLimit)
			}
			return
		}
		jobs = waiting
		n.awaitEvent()
	}
}

// unready reports whether an address was accepted and has not turned up yet,
// unless it stands there with another length or was taken away meanwhile.
func (n *Net) unready(j job) bool {
	if j.key.peer.Is4() {
		return false
	}
	_, there := n.picture.hosts[j.key.host()]
	_, claimed := n.picture.claims[j.key]
	return !there && claimed
}

// sendAll sends batches.
func (n *Net) sendAll(jobs []job, errs []error, anew bool) {
	for len(jobs) > 0 {
		size := firstBatch(len(jobs), func(i int) bool { return jobs[i].key.peer.Is6() })
		n.sendAdds(jobs[:size], errs, anew)
		jobs = jobs[size:]
	}
}

// firstBatch is how many of a row go into one batch.
func firstBatch(count int, isSix func(int) bool) int {
	size, six := 0, 0
	for size < min(batchSize, count) && six < batchSix {
		if isSix(size) {
			six++
		}
		size++
	}
	return size
}

// sendAdds sends one batch; anew: what is there of the same address goes first.
func (n *Net) sendAdds(jobs []job, errs []error, anew bool) {
	b := &batch{}
	owner := make([]int, 0, len(jobs)) // of each message, -1: its failure does not matter
	n.mu.Lock()
	n.drain() // an event of before must not take the claim for its own
	now := time.Now()
	ownSubnets := n.ownSubnets(jobs)
	for _, j := range jobs {
		if anew {
			for _, k := range n.picture.rivals(j.key) {
				deleteMessage(b, k)
				owner = append(owner, -1)
			}
		}
		n.picture.claims[j.key] = claim{mark: j.mark, until: now.Add(j.valid)}
		n.addMessage(b, j, ownSubnets)
		owner = append(owner, j.i)
	}
	n.mu.Unlock()

	results := n.requests.do(b)

	n.mu.Lock()
	defer n.mu.Unlock()
	n.drain()
	for m, err := range results {
		if owner[m] >= 0 {
			errs[owner[m]] = err
		}
	}
	for _, j := range jobs {
		if err := errs[j.i]; err != nil {
			if _, there := n.picture.addrs[j.key]; !there {
				delete(n.picture.claims, j.key)
			}
			errs[j.i] = n.explain("add", "to", j.key, err)
		}
	}
}

// learnKeeping looks at the first address that was added: is its mark there?
func (n *Net) learnKeeping(jobs []job, errs []error) {
	if n.picture.keeping != untried {
		return
	}
	for _, j := range jobs {
		e, ok := n.picture.addrs[j.key]
		if !ok || errs[j.i] != nil {
			continue
		}
		n.picture.keeping = keepsMarks
		if Mark(e.proto) != j.mark {
			n.picture.keeping = losesMarks
			n.log.Info().Msg("this kernel keeps no marks of addresses (IFA_PROTO, Linux 5.18): labels and memory instead")
		}
		return
	}
}

// otherwise reports what the kernel leaves as it was when it refreshes: the
// length of an IPv6 address, one that a stranger added and whose duplicates it is
// still looking for (it then does not even tell of the refresh), and the label.
func (n *Net) otherwise(j job) bool {
	e, ok := n.picture.addrs[j.key]
	if !ok {
		return j.key.peer.Is6() && len(n.picture.rivals(j.key)) > 0
	}
	if j.key.peer.Is6() {
		return e.flags&unix.IFA_F_TENTATIVE != 0
	}
	if n.picture.keeping != losesMarks {
		return false
	}
	want := markLabel(n.picture.links[j.key.link].Name, j.mark)
	return want != "" && e.label != want
}

// rivals are what stands in an address's way on its link: itself, and for IPv6
// the same address with another length.
func (p *picture) rivals(key addrKey) []addrKey {
	if key.peer.Is4() {
		if _, ok := p.addrs[key]; ok {
			return []addrKey{key}
		}
		return nil
	}
	if k, ok := p.hosts[key.host()]; ok {
		return []addrKey{k}
	}
	return nil
}

// subnetKey is a subnet on a link.
type subnetKey struct {
	link   int
	subnet netip.Prefix
}

// ownSubnets are the host's own IPv6 subnets, if any job has need of them.
func (n *Net) ownSubnets(jobs []job) map[subnetKey]bool {
	need := false
	for _, j := range jobs {
		need = need || (j.key.peer.Is6() && !j.key.prefix.IsSingleIP())
	}
	if !need {
		return nil
	}
	own := map[subnetKey]bool{}
	for k, e := range n.picture.addrs {
		if k.peer.Is6() && n.picture.mark(k, e) == 0 {
			own[subnetKey{k.link, k.subnet()}] = true
		}
	}
	return own
}

// addMessage appends the one request by which flip plumbs and refreshes: always
// with lifetime and mark, since the kernel takes what is not said for "for
// ever" and for "nobody's".
func (n *Net) addMessage(b *batch, j job, own map[subnetKey]bool) {
	addr := j.key.prefix.Addr()
	b.begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, addrHeader(j.key)...)
	b.attr(unix.IFA_LOCAL, addr.AsSlice())
	b.attr(unix.IFA_ADDRESS, addr.AsSlice())
	valid := uint32(j.valid / time.Second)
	preferred := valid
	if addr.Is6() {
		preferred = 0
		flags := uint32(unix.IFA_F_NODAD)
		// The subnet's route is the host's own business where it has an address
		// there; a subnet that only floats needs the route with the address. A route
		// to the address alone is of no use.
		if j.key.prefix.IsSingleIP() || own[subnetKey{j.key.link, j.key.subnet()}] {
			flags |= unix.IFA_F_NOPREFIXROUTE
		}
		b.attr(unix.IFA_FLAGS, native.AppendUint32(nil, flags))
	} else if n.picture.keeping == losesMarks {
		if label := markLabel(n.picture.links[j.key.link].Name, j.mark); label != "" {
			b.attr(unix.IFA_LABEL, append([]byte(label), 0))
		}
	}
	lifetimes := native.AppendUint32(nil, preferred)
	lifetimes = native.AppendUint32(lifetimes, valid)
	b.attr(unix.IFA_CACHEINFO, append(lifetimes, make([]byte, 8)...))
	if !n.withoutProto {
		b.attr(ifaProto, []byte{byte(j.mark)})
	}
	b.end()
}

func addrHeader(k addrKey) []byte {
	family := byte(unix.AF_INET6)
	if k.prefix.Addr().Is4() {
		family = unix.AF_INET
	}
	return native.AppendUint32([]byte{family, byte(k.prefix.Bits()), 0, unix.RT_SCOPE_UNIVERSE}, uint32(k.link))
}
