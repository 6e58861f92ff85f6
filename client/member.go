package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/flip-ha/flip/api"
)

// Members is GET /v1/members.
func (c *Client) Members(ctx context.Context, consistent bool) (api.Members, error) {
	var out api.Members
	_, err := c.Get(ctx, api.PathMembers+query("", consistent), &out)
	return out, err
}

// AddMember has a node made a member. The answer comes once that is agreed on;
// Members says how far it has come.
func (c *Client) AddMember(ctx context.Context, what api.MemberAdd) (api.MemberChanged, error) {
	var out api.MemberChanged
	err := c.Do(ctx, http.MethodPost, api.PathMemberAdd, what, &out)
	return out, err
}

// RemoveMember has a member taken out, as AddMember has one added.
func (c *Client) RemoveMember(ctx context.Context, what api.MemberRemove) (api.MemberChanged, error) {
	var out api.MemberChanged
	err := c.Do(ctx, http.MethodPost, api.PathMemberRemove, what, &out)
	return out, err
}

// PromoteMember has a voter made of an agent, as AddMember has a member added.
func (c *Client) PromoteMember(ctx context.Context, what api.MemberPromote) (api.MemberChanged, error) {
	var out api.MemberChanged
	err := c.Do(ctx, http.MethodPost, api.PathMemberPromote, what, &out)
	return out, err
}

// DemoteMember has an agent made of a voter, as AddMember has a member added.
func (c *Client) DemoteMember(ctx context.Context, what api.MemberDemote) (api.MemberChanged, error) {
	var out api.MemberChanged
	err := c.Do(ctx, http.MethodPost, api.PathMemberDemote, what, &out)
	return out, err
}

// Join asks a member whether this node was added. to names no member: whoever
// answers at that address.
func (p *Peers) Join(ctx context.Context, to Target, mine api.Join) (api.Joined, error) {
	body, err := json.Marshal(mine)
	if err != nil {
		return api.Joined{}, fmt.Errorf("encode question to join: %w", err)
	}
	var out api.Joined
	err = p.post(ctx, to, api.PathJoin, "application/json", body, &out)
	return out, err
}
