// Package veeamtest emulates the servers of four Veeam products for tests: Backup & Replication (12 and 13),
// Service Provider Console, Backup for Microsoft Azure and Backup for AWS. It speaks their authentication protocols
// strictly, offers a few of their resources, and shares no code with what it tests.
//
//	s := veeamtest.New(veeamtest.VBR13, veeamtest.WithAccessLifetime(time.Minute))
//	if err := s.Start(); err != nil { … }
//	defer s.Close()
//	s.Advance(2 * time.Minute) // the tokens issued so far are expired
//
// A Server is an http.Handler too and works in memory, without Start; Server.Transport leads there.
//
// # What is strict
//
// Bodies at the token endpoint must be forms. Enum values and paths are compared without case, field names only at
// Azure; empty pairs and blank values count as absent. Refresh tokens work once. A TOTP code works in its own 30-second
// step and the two beside it, once, and never after a newer one. VBR and AWS refuse requests without x-api-version.
// An mfa_token works once, as do authorization codes and the answers to VSPC's challenges. Two Authorization headers
// count as none.
//
// # What no document settles
//
// Such facts are options, and this is what happens without them:
//
//   - VBR answers 401 on protected routes with no body (WithVBR401Document), and 400 with an Error document when
//     x-api-version is missing (WithVersionMissingBody).
//   - VBR grants 15 minutes; its documents also say 60 (WithAccessLifetime). Its dates have no zone in 12 and an offset
//     in 13 (WithDateStyle, WithZone). Its answers have no username (WithUsernameInAnswer).
//   - A refused refresh token is 401 at VBR, Azure and AWS, and 400 at VSPC. Using one twice does not end the session
//     (WithRefreshReuseRevokesFamily). A refresh leaves the earlier access token alive (WithRefreshRevokesAccess).
//   - A login leaves the user's other sessions alone (WithSingleSession).
//   - An mfa_token lives two minutes and three wrong codes (WithMFALifetime, WithMFATries).
//   - VSPC's challenge is text, encrypted with PKCS #1 v1.5 (WithBinaryChallenge, WithPadding); the public key may come
//     in any form (WithKeyForm). The grant "as" uses up the refresh token (WithAsKeepsRefresh), and a refresh keeps a
//     session read-only (WithRefreshDropsReadOnly). Each answer is for the user who was asked for (WithSwappedUsers).
//   - AWS makes authorization codes at …/token/authorization_code (WithCodePaths).
//   - A + that was not percent-encoded is a space (WithBarePlus).
//   - No account is ever locked (WithLockout), and nothing is throttled (WithTokenStatus429,
//     WithTokenLimits).
//   - VBR refuses deletions, as with four-eyes authorization (WithFourEyes).
//
// # Test routes
//
// Below the base path of each product (Server.Base) there are …/echo, …/upload, …/download?size=N, …/execute?op=ID,
// …/always401, …/status/{code}, …/slow?ms=N, …/stream and …/websocket, all behind a bearer.
package veeamtest
