package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Keyring is the cluster's key as this node has it.
type Keyring interface {
	// Own fills in what only this node knows.
	Own(into *api.Key)
	// Rotation makes the command that begins a rotation after the newest one, to a key,
	// or to a random one (""). It may take a tenth of a second, and its error may be an
	// *api.Error.
	Rotation(ctx context.Context, after fsm.Keys, key string) (fsm.Rotate, error)
	// Secret is the key itself.
	Secret() string
}

func (l local) key(r *http.Request) (any, error) {
	secret := r.URL.Query().Has(api.Secret)
	switch {
	case l.Keys == nil:
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "this node has no key to show"}
	case secret && l.Operator != nil:
		return nil, &api.Error{
			Code: api.CodeForbidden, Message: "the key itself is shown on a member's own machine only",
			Hint: "there: flip key show --secret",
		}
	}
	if err := l.verify(r); err != nil {
		return nil, err
	}
	out := l.keyNow()
	if secret {
		out.Key = l.Keys.Secret()
	}
	return out, nil
}

// wholeKey is what a server says of the cluster's key, with what this node goes by. The
// key itself is this node's and asked of nobody else, also when no server answers.
func (l local) wholeKey(req *http.Request) (any, error) {
	query := req.URL.Query()
	secret := query.Has(api.Secret)
	if secret && l.Operator != nil {
		return l.key(req) // which refuses it
	}
	query.Del(api.Secret)
	there := req.Clone(req.Context())
	there.URL.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(req.Context(), statusElsewhere)
	defer cancel()
	var out api.Key
	switch err := l.askThere(ctx, there, &out); {
	case err != nil && query.Has(api.Consistent):
		return nil, err
	case err != nil:
		out = l.keyNow()
	}
	out.Fingerprint, out.Stale, out.Trouble = "", "", ""
	l.Keys.Own(&out)
	if secret {
		out.Key = l.Keys.Secret()
	}
	return out, nil
}

// keyNow is how the key is, here and in the log as this node has read it.
func (l local) keyNow() api.Key {
	stamp, state := l.stamp()
	out := KeyOf(state)
	out.Stamp = stamp
	l.Keys.Own(&out)
	return out
}

// KeyOf is what a State says of the cluster's key.
func KeyOf(s *fsm.State) api.Key {
	k := s.Keys()
	out := api.Key{
		Phase: int(k.Phase), Round: k.Round, SinceMS: k.At, Old: k.Old, New: k.New,
		Have: append([]fsm.MemberID{}, k.Acked...), LeftOut: append([]fsm.MemberID{}, k.LeftOut...), Awaited: []api.KeyAwaited{},
	}
	for _, id := range s.KeyAwaited() {
		out.Awaited = append(out.Awaited, api.KeyAwaited{Name: id, State: memberState(s, id)})
	}
	switch {
	case k.Round == 0:
		out.Words = "the key was never rotated"
	case k.Phase == fsm.KeySettled:
		out.Words = "no rotation is under way"
	default:
		out.Words = fmt.Sprintf("phase %d of %d, %s", k.Phase, api.KeyPhases, k.Phase)
	}
	return out
}

func (l local) keyRotate(r *http.Request) (any, error) {
	var in api.KeyRotate
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if l.Keys == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "this node cannot rotate the key"}
	}
	ctx, cancel, err := l.begin(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	state, _ := l.Node.View()
	cmd, err := l.rotation(ctx, state, in)
	if err != nil {
		return nil, err
	}
	if err := l.propose(ctx, cmd); err != nil {
		return nil, err
	}
	return api.KeyRotated{Key: l.keyNow(), Warnings: withoutWarnings(state, in.LeftOut)}, nil
}

// rotation is the command that is asked for.
func (l local) rotation(ctx context.Context, s *fsm.State, in api.KeyRotate) (fsm.Command, error) {
	k := s.Keys()
	if s.Spec().Version == 0 {
		return nil, refusal("the cluster is not founded yet", "`flip status` says what it waits for")
	}
	for _, id := range in.LeftOut {
		if _, listed := s.Spec().Servers[id]; !listed {
			return nil, unknownMember(s, id)
		}
	}
	switch {
	case in.Key == "" && len(in.LeftOut) > 0 && k.Phase != fsm.KeySettled:
		return fsm.KeyGo{Round: k.Round, LeftOut: in.LeftOut, At: now()}, nil
	case k.Rotating():
		hint := "`flip key show` says how far it is"
		if waits := s.KeyAwaited(); len(waits) > 0 {
			hint = fmt.Sprintf("it waits for %s: bring it up, or go on without it: flip key rotate --without %s", joined(waits), waits[0])
		}
		return nil, refusedf(hint, "the key is being rotated already: %s", KeyOf(s).Words)
	}
	cmd, err := l.Keys.Rotation(ctx, k, in.Key)
	if err != nil {
		return nil, err
	}
	cmd.LeftOut, cmd.At = slices.Sorted(slices.Values(in.LeftOut)), now()
	return cmd, nil
}

// withoutWarnings is what it means for those that are left out.
func withoutWarnings(s *fsm.State, without []fsm.MemberID) []string {
	var out []string
	for _, id := range without {
		if up(memberState(s, id)) {
			out = append(out, fmt.Sprintf("%s is up and is not waited for: if it has not got the new key by the time the old one ends, it loses the cluster", id))
			continue
		}
		out = append(out, fmt.Sprintf("%s is left behind: when it comes back after the old key has ended it is refused, until its configuration has the new one (`flip key show --secret`)", id))
	}
	return out
}

// keyAlarms are about a rotation that is under way.
func keyAlarms(st api.Status, s *fsm.State) []api.Alarm {
	k := KeyOf(s)
	if !s.Keys().Rotating() {
		return nil
	}
	a := api.Alarm{Severity: api.Note, What: "the cluster's key is being rotated: " + k.Words, Do: "nothing: `flip key show` says how far it is"}
	var down []fsm.MemberID
	for _, m := range k.Awaited {
		if !up(m.State) {
			down = append(down, m.Name)
		}
	}
	if len(down) > 0 && st.Cluster.ID != "" {
		a.Severity = api.Warning
		a.What += fmt.Sprintf("; it waits for %s, which %s not up", joined(down), map[bool]string{true: "is", false: "are"}[len(down) == 1])
		a.Do = fmt.Sprintf("start flip there; or go on without: flip key rotate --without %s", down[0])
	}
	return []api.Alarm{a}
}
