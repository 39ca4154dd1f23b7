"""Who may do what, for review: every route, every method, every kind of caller, and what they get.

Whoever adds a route adds its rows here; `test_routes` compares both with the application.

Columns of the data plane:

* strangers: no key, a malformed one, one that nobody issued, a revoked and an expired one;
* narrow: a key that may not use the model; fitting: one that may use it and no other;
* open: a key without restriction, of whichever project; it may not mint client tokens;
* token: a client token of such a key that may;
* admin: a key with the scope, before an upstream with an admin credential.

`{none}` behind a path: the request names no model. `*` among methods: all that no row above names.
"""

DATA_PLANE = """
path                                methods                 strangers  narrow  fitting  open  token  admin
/v1/chat/completions                POST                    401        403     200      200   200    200
/v1/chat/completions                GET                     401        403     403      200   403    200
/v1/chat/completions                *                       405        405     405      405   405    405
/v1/chat/completions {none}         POST                    400        400     400      400   400    400
/v1/completions                     POST                    401        403     200      200   200    200
/v1/completions                     *                       405        405     405      405   405    405
/v1/responses                       POST                    401        403     200      200   200    200
/v1/responses                       GET                     401        403     403      200   403    200
/v1/responses                       *                       405        405     405      405   405    405
/v1/embeddings                      POST                    401        403     200      200   200    200
/v1/embeddings                      *                       405        405     405      405   405    405
/v1/moderations                     POST                    401        403     200      200   200    200
/v1/moderations                     *                       405        405     405      405   405    405
/v1/moderations {none}              POST                    401        403     403      200   403    200
/v1/models                          GET HEAD                401        200     200      200   200    200
/v1/models                          *                       405        405     405      405   405    405
/v1/models/gpt-6-sol                GET HEAD                401        403     200      200   200    200
/v1/models/gpt-6-sol                POST PUT PATCH DELETE   401        403     200      200   403    200
/v1/models/gpt-6-sol                *                       405        405     405      405   405    405
/v1/responses/resp_1                GET HEAD DELETE         401        403     403      200   403    200
/v1/responses/resp_1                POST PUT PATCH          401        403     200      200   403    200
/v1/responses/resp_1                *                       405        405     405      405   405    405
/v1/responses/resp_1 {none}         POST                    401        403     403      200   403    200
/v1/organization                    GET HEAD DELETE         401        403     403      403   403    200
/v1/organization                    POST PUT PATCH          401        403     403      403   403    200
/v1/organization                    *                       405        405     405      405   405    405
/v1/organization/admin_api_keys     GET HEAD DELETE         401        403     403      403   403    200
/v1/organization/admin_api_keys     POST PUT PATCH          401        403     403      403   403    200
/v1/organization/admin_api_keys     *                       405        405     405      405   405    405
/v1/projects                        GET HEAD DELETE         401        403     403      403   403    200
/v1/projects                        POST PUT PATCH          401        403     403      403   403    200
/v1/projects                        *                       405        405     405      405   405    405
/v1/projects/p/api_keys             GET HEAD DELETE         401        403     403      403   403    200
/v1/projects/p/api_keys             POST PUT PATCH          401        403     403      403   403    200
/v1/projects/p/api_keys             *                       405        405     405      405   405    405
/v1/%6frganization/users            GET HEAD DELETE         401        403     403      403   403    200
/v1/%6frganization/users            POST PUT PATCH          401        403     403      403   403    200
/v1/%6frganization/users            *                       405        405     405      405   405    405
/v1/Organization/users              *                       404        404     404      404   404    404
/v1/PROJECTS                        *                       404        404     404      404   404    404
/v1/organization/                   *                       404        404     404      404   404    404
/v1/organization%2fusers            *                       404        404     404      404   404    404
/v1/realtime                        GET HEAD DELETE         401        403     403      200   403    200
/v1/realtime                        POST PUT PATCH          401        403     403      200   403    200
/v1/realtime                        *                       405        405     405      405   405    405
/v1/realtime/client_secrets         GET HEAD DELETE         401        403     403      200   403    200
/v1/realtime/client_secrets         POST PUT PATCH          401        403     403      200   403    200
/v1/realtime/client_secrets         *                       405        405     405      405   405    405
/v1/files                           GET HEAD DELETE         401        403     403      200   403    200
/v1/files                           POST PUT PATCH          401        403     200      200   403    200
/v1/files                           *                       405        405     405      405   405    405
/v1/files {none}                    POST PUT PATCH          401        403     403      200   403    200
/v1/%63hat/completions              POST                    401        403     200      200   200    200
/v1/Chat/completions                *                       404        404     404      404   404    404
/v1/chat/completions/               *                       404        404     404      404   404    404
/v1/models/../files                 *                       404        404     404      404   404    404
/v1//files                          *                       404        404     404      404   404    404
//v1/files                          *                       404        404     404      404   404    404
/v1/a%2fb                           *                       404        404     404      404   404    404
/v1                                 *                       404        404     404      404   404    404
/v2/models                          *                       404        404     404      404   404    404
/                                   *                       404        404     404      404   404    404
/healthz                            *                       404        404     404      404   404    404
/metrics                            *                       404        404     404      404   404    404
/api/keys                           *                       404        404     404      404   404    404
/api/client-tokens                  POST                    401        403     403      403   403    403
/api/client-tokens                  *                       405        405     405      405   405    405
"""

ADMIN_PLANE = """
path                                methods                 loopback  unnamed  foreign
/healthz                            GET HEAD                200       400      403
/healthz                            *                       405       400      403
/readyz                             GET HEAD                200       400      403
/readyz                             *                       405       400      403
/metrics                            GET HEAD                200       400      403
/metrics                            *                       405       400      403
/api/upstreams                      GET HEAD                200       400      403
/api/upstreams                      *                       405       400      403
/api/upstreams/{upstream}/breaker   POST                    415       400      403
/api/upstreams/{upstream}/breaker   *                       405       400      403
/api/budgets                        GET HEAD                200       400      403
/api/budgets                        *                       405       400      403
/api/usage                          GET HEAD                200       400      403
/api/usage                          *                       405       400      403
/api/usage/drivers                  GET HEAD                200       400      403
/api/usage/drivers                  *                       405       400      403
/v1/models                          *                       404       400      403
/api/keys                           *                       404       400      403
/docs                               *                       404       400      403
/                                   *                       404       400      403
"""
"""Columns: the Host field names this machine; there is none; it names another machine."""
