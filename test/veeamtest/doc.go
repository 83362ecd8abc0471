// Package veeamtest emulates the servers of eight Veeam products for tests: Backup & Replication (12 and 13, with a
// plug-in behind it), Service Provider Console, Backup for Microsoft Azure, for AWS, for Google Cloud and for Microsoft
// 365, Veeam ONE and Enterprise Manager (12 and 13). It speaks their authentication protocols strictly, offers a few of
// their resources, and shares no code with what it tests.
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
// Bodies at the token endpoint must be forms; VB365 reads JSON too, Veeam ONE multipart, Enterprise Manager requires
// Basic instead. Paths are compared without case, enum values too except at VB365, field names only at Azure and Google Cloud;
// empty pairs and blank values count as absent. Refresh tokens work once. A TOTP code works in its own 30-second
// step and the two beside it, once, and never after a newer one. VBR, AWS and Google Cloud refuse requests without
// x-api-version.
// An mfa_token works once, as do authorization codes and the answers to VSPC's challenges. Two Authorization headers
// count as none.
// VB365 issues tokens that are refused without a cookie, unless a request asks for none, and accepts one token request
// per second, 5 per minute and 1500 per hour. A login at Veeam ONE ends the user's other sessions. Enterprise Manager
// speaks HTTP/1.1 only and requires the spelling of its session header in its manual; links in its responses contain another host.
//
// # What is not documented
//
// Such behavior is configured by options. Without them:
//
//   - VBR answers 401 on protected routes with no body (WithVBR401Document), and 400 with an Error document when
//     x-api-version is missing (WithVersionMissingBody).
//   - VB365 refuses a credential with 401 (WithRefusedStatus), requires the antiforgery cookie for reads too
//     (WithAntiforgeryReads, WithAntiforgeryCookie), sends userName in v8 on request only (WithUsernameInAnswer) and limits
//     callers of its own machine like others (WithLoopbackUnlimited).
//   - Veeam ONE revokes without a bearer (WithRevokeBearer) and ends the session of the revoked token
//     (WithRevokeKeepsRefresh). Its sessions interfere (WithParallelSessions).
//   - Enterprise Manager's session header is the Base64 of the session's id (WithRandomSessionHeader); a login names a
//     version (WithAnyLogonVersion); a request for a session keeps it alive (WithQuietLogonChecks), without a maximum
//     (WithSessionLifetime). Its JSON has no byte order mark (WithBOM).
//   - Google Cloud's token endpoint needs no x-api-version (WithVersionAtToken); it logs out as AWS does (WithoutLogout).
//   - Plug-ins behind VBR accept its bearer (WithPlugInTokens) and refuse others with a line of text (WithPlugInPage).
//   - VBR issues access tokens for 15 minutes; its documents also say 60 (WithAccessLifetime). Its dates have no zone in 12 and an offset
//     in 13 (WithDateStyle, WithZone). Its answers have no username (WithUsernameInAnswer).
//   - A refused refresh token is 401 at VBR, Azure, AWS, Google Cloud and VB365, and 400 at VSPC and Veeam ONE. It works
//     once (WithReusableRefresh). Using one twice does not end the session
//     (WithRefreshReuseRevokesFamily). The earlier access token remains valid after a refresh (WithRefreshRevokesAccess).
//   - A login does not end the user's other sessions (WithSingleSession).
//   - An mfa_token is valid for two minutes and three wrong codes (WithMFALifetime, WithMFATries).
//   - VSPC's challenge is text, encrypted with PKCS #1 v1.5 (WithBinaryChallenge, WithPadding); the public key may come
//     in any form (WithKeyForm). The grant "as" uses up the refresh token (WithAsKeepsRefresh), and a refresh keeps a
//     session read-only (WithRefreshDropsReadOnly). Each response is for the requested user (WithSwappedUsers).
//   - AWS creates authorization codes at …/token/authorization_code (WithCodePaths).
//   - A + that was not percent-encoded is a space (WithBarePlus).
//   - No account is ever locked (WithLockout), and nothing is throttled except at VB365 (WithTokenStatus429,
//     WithTokenLimits).
//   - VBR refuses deletions, as with four-eyes authorization (WithFourEyes).
//
// # Test routes
//
// Below the base path of each product (Server.Base) there are …/echo, …/upload, …/download?size=N, …/execute?op=ID,
// …/always401, …/status/{code}, …/slow?ms=N, …/stream and …/websocket, all behind a session.
package veeamtest
