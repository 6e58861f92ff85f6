package client

import (
	"context"
	"net/http"

	"github.com/flip-ha/flip/api"
)

// Key is GET /v1/key; with secret it has the key itself, which only a daemon of this
// machine tells.
func (c *Client) Key(ctx context.Context, secret, consistent bool) (api.Key, error) {
	path := api.PathKey + query("", consistent)
	if secret {
		path = api.PathKey + "?" + api.Secret
	}
	var out api.Key
	_, err := c.Get(ctx, path, &out)
	return out, err
}

// RotateKey begins to rotate the cluster's key, or leaves members out of a rotation. The
// answer comes once that is agreed on; Key says how far it has come.
func (c *Client) RotateKey(ctx context.Context, what api.KeyRotate) (api.KeyRotated, error) {
	var out api.KeyRotated
	err := c.Do(ctx, http.MethodPost, api.PathKeyRotate, what, &out)
	return out, err
}
