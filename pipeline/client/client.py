"""The operations of the API. Written by `make docs` from the API's document; change the gateway's operations."""

from typing import Any, Literal, Self

from pipeline.client import models
from pipeline.client.answers import Answer
from pipeline.client.transport import Transport


class Client(Transport):
    """A method for each operation: `get_application` is `GET /applications/{application_id}`.

    All raise `ProblemError` for an answer that is a problem, and `UnreachableError` without an answer.
    """

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def post_event(self, body: models.EventForm) -> Answer[models.EventAccepted]:
        """Accept one event. 201 means that it is in the log."""
        return await self.call("POST", "/event", body=body)

    async def post_events(
        self, body: models.BatchForm, *, idempotency_key: str | None = None
    ) -> Answer[models.BatchShown]:
        """Accept a batch. 200 with a result per event, in their order: `status` 201, or what a single event would
        get."""
        return await self.call("POST", "/events", headers={"Idempotency-Key": idempotency_key}, body=body)

    async def list_events(
        self,
        *,
        application_id: str,
        event_type_names: str | None = None,
        labels: str | None = None,
        min_received_at: str | None = None,
        max_received_at: str | None = None,
        pagination_cursor: str | None = None,
    ) -> Answer[list[models.EventShown]]:
        """A page of the application's events, newest first, with those accepted just now; `Link` leads on and back."""
        return await self.call(
            "GET",
            "/events",
            query={
                "application_id": application_id,
                "event_type_names": event_type_names,
                "labels": labels,
                "min_received_at": min_received_at,
                "max_received_at": max_received_at,
                "pagination_cursor": pagination_cursor,
            },
        )

    async def post_cloudevents(
        self,
        body: list[models.CloudEventForm] | models.CloudEventForm,
        content_type: Literal["application/cloudevents+json", "application/cloudevents-batch+json"],
        *,
        application_id: str,
    ) -> Answer[models.EventAccepted | models.BatchShown]:
        """Accept a CloudEvent (201), or a batch of them (200, a result for each in their order). In the log, both
        mean."""
        return await self.call(
            "POST", "/cloudevents", query={"application_id": application_id}, body=body, content_type=content_type
        )

    async def get_health(self, *, key: str | None = None) -> Answer[models.HealthReport]:
        """200 when this gateway takes requests, 503 when it should be given none."""
        return await self.call("GET", "/health", query={"key": key})

    async def list_environment_variables(self) -> Answer[list[models.VariableShown]]:
        """Every setting with its default. The values of this instance are never shown."""
        return await self.call("GET", "/environment_variables")

    async def list_errors(self, *, all_: str | None = None) -> Answer[list[models.ProblemShown]]:
        """The catalogue of problems: Hook0's, which its clients can read; with `all=true` ours as well."""
        return await self.call("GET", "/errors", query={"all": all_})

    async def get_instance(self) -> Answer[models.InstanceShown]:
        """The facts that a dashboard asks for first."""
        return await self.call("GET", "/instance")

    async def list_payload_content_types(self) -> Answer[list[str]]:
        """The content types of payloads."""
        return await self.call("GET", "/payload_content_types")

    async def get_quotas(self) -> Answer[models.InstanceQuotas]:
        """Limits of this instance."""
        return await self.call("GET", "/quotas")

    async def post_register(self, body: models.RegistrationForm) -> Answer[models.RegistrationShown]:
        """A new user with a new organization. With the master key also where registration is off; then the address"""
        return await self.call("POST", "/register", body=body)

    async def post_auth_verify_email(self, body: models.LinkForm) -> Answer[models.SessionShown]:
        """The address is theirs, as the link shows that was sent to it; and a session. A link does this once."""
        return await self.call("POST", "/auth/verify-email", body=body)

    async def post_auth_resend_verification_email(self, body: models.EmailForm) -> Answer[bytes]:
        """Send another link, if there is such a user who needs one; the answer is the same if not."""
        return await self.call("POST", "/auth/resend-verification-email", body=body)

    async def post_auth_login(self, body: models.LoginForm) -> Answer[models.SessionShown]:
        """A session for e-mail address and password. An unknown address costs as much time as a wrong password."""
        return await self.call("POST", "/auth/login", body=body)

    async def post_auth_refresh(self) -> Answer[models.SessionShown]:
        """New tokens for a refresh token, which is used up by it."""
        return await self.call("POST", "/auth/refresh")

    async def post_auth_logout(self) -> Answer[bytes]:
        """End the session: its tokens are refused here from now on, and within a second at every other gateway."""
        return await self.call("POST", "/auth/logout")

    async def get_auth_oidc_login(self) -> Answer[bytes]:
        """Send a browser to the provider. A cookie ties the answer to this browser."""
        return await self.call("GET", "/auth/oidc/login")

    async def get_auth_oidc_callback(
        self, *, state: str | None = None, code: str | None = None
    ) -> Answer[models.SessionShown]:
        """The page to which the provider sends the browser back: a session, answered as a login is."""
        return await self.call("GET", "/auth/oidc/callback", query={"state": state, "code": code})

    async def post_auth_password(self, body: models.PasswordForm) -> Answer[bytes]:
        """Set another password for the caller. All their other sessions end."""
        return await self.call("POST", "/auth/password", body=body)

    async def post_auth_begin_reset_password(self, body: models.EmailForm) -> Answer[bytes]:
        """An e-mail with a link, if there is such a user; answered alike if not."""
        return await self.call("POST", "/auth/begin-reset-password", body=body)

    async def post_auth_reset_password(self, body: models.ResetForm) -> Answer[bytes]:
        """Set another password by a link. All sessions end; the address counts as verified, as the link came to it."""
        return await self.call("POST", "/auth/reset-password", body=body)

    async def list_users(self, *, email: str | None = None, after: str | None = None) -> Answer[list[models.UserShown]]:
        """100 by id, behind `after`; `email` for one address."""
        return await self.call("GET", "/users", query={"email": email, "after": after})

    async def get_user(self, user_id: str) -> Answer[models.UserShown]:
        """One user."""
        return await self.call("GET", "/users/{user_id}", parts={"user_id": user_id})

    async def delete_user(self, user_id: str) -> Answer[bytes]:
        """Remove a user from everywhere: its tokens are refused within a second at every gateway."""
        return await self.call("DELETE", "/users/{user_id}", parts={"user_id": user_id})

    async def list_audit_log(
        self,
        *,
        organization_id: str | None = None,
        application_id: str | None = None,
        actor_id: str | None = None,
        resource: str | None = None,
        resource_id: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> Answer[list[models.EntryShown]]:
        """A page of the audit log of an organization, newest first; with the master key of all, users included."""
        return await self.call(
            "GET",
            "/audit_log",
            query={
                "organization_id": organization_id,
                "application_id": application_id,
                "actor_id": actor_id,
                "resource": resource,
                "resource_id": resource_id,
                "before": before,
                "after": after,
            },
        )

    async def list_organizations(self) -> Answer[list[models.OrganizationShown]]:
        """The organizations that the caller may act in."""
        return await self.call("GET", "/organizations")

    async def post_organizations(self, body: models.OrganizationForm) -> Answer[models.OrganizationShown]:
        """A new organization; answered with 200, as clients expect. The user who makes it is its editor."""
        return await self.call("POST", "/organizations", body=body)

    async def get_organization(self, organization_id: str) -> Answer[models.OrganizationInfo]:
        """One organization."""
        return await self.call("GET", "/organizations/{organization_id}", parts={"organization_id": organization_id})

    async def put_organization(
        self, organization_id: str, body: models.OrganizationForm, *, if_match: str | None = None
    ) -> Answer[models.OrganizationInfo]:
        """Give an organization another name."""
        return await self.call(
            "PUT",
            "/organizations/{organization_id}",
            parts={"organization_id": organization_id},
            headers={"If-Match": if_match},
            body=body,
        )

    async def delete_organization(self, organization_id: str) -> Answer[bytes]:
        """Delete an organization that has no applications."""
        return await self.call("DELETE", "/organizations/{organization_id}", parts={"organization_id": organization_id})

    async def get_organization_quotas(self, organization_id: str) -> Answer[models.QuotasShown]:
        """The organization's own quotas."""
        return await self.call(
            "GET", "/organizations/{organization_id}/quotas", parts={"organization_id": organization_id}
        )

    async def put_organization_quotas(
        self, organization_id: str, body: models.QuotasForm, *, if_match: str | None = None
    ) -> Answer[models.QuotasShown]:
        """Set all quotas of an organization. With the master key only."""
        return await self.call(
            "PUT",
            "/organizations/{organization_id}/quotas",
            parts={"organization_id": organization_id},
            headers={"If-Match": if_match},
            body=body,
        )

    async def post_organization_invite(
        self, organization_id: str, body: models.InviteForm
    ) -> Answer[models.InvitationShown]:
        """A user becomes a member at once."""
        return await self.call(
            "POST", "/organizations/{organization_id}/invite", parts={"organization_id": organization_id}, body=body
        )

    async def delete_organization_invite(
        self, organization_id: str, body: models.RevokeForm
    ) -> Answer[models.RevocationShown]:
        """End a membership: the person's tokens do nothing here within a second, at every gateway."""
        return await self.call(
            "DELETE", "/organizations/{organization_id}/invite", parts={"organization_id": organization_id}, body=body
        )

    async def put_organization_invite(self, organization_id: str, body: models.RoleForm) -> Answer[models.RoleShown]:
        """Give a member another role, within a second at every gateway."""
        return await self.call(
            "PUT", "/organizations/{organization_id}/invite", parts={"organization_id": organization_id}, body=body
        )

    async def list_applications(self, *, organization_id: str) -> Answer[list[models.ApplicationShown]]:
        """An organization's applications."""
        return await self.call("GET", "/applications", query={"organization_id": organization_id})

    async def post_applications(self, body: models.ApplicationForm) -> Answer[models.ApplicationShown]:
        """A new application, known to every stage when this is answered."""
        return await self.call("POST", "/applications", body=body)

    async def get_application(self, application_id: str) -> Answer[models.ApplicationInfo]:
        """One application, with its limits and their present use."""
        return await self.call("GET", "/applications/{application_id}", parts={"application_id": application_id})

    async def put_application(
        self, application_id: str, body: models.ApplicationForm, *, if_match: str | None = None
    ) -> Answer[models.ApplicationShown]:
        """Give an application another name."""
        return await self.call(
            "PUT",
            "/applications/{application_id}",
            parts={"application_id": application_id},
            headers={"If-Match": if_match},
            body=body,
        )

    async def delete_application(self, application_id: str) -> Answer[bytes]:
        """Delete an application with its secrets and subscriptions; waiting deliveries are cancelled."""
        return await self.call("DELETE", "/applications/{application_id}", parts={"application_id": application_id})

    async def list_application_secrets(self, *, application_id: str) -> Answer[list[models.SecretShown]]:
        """An application's valid secrets."""
        return await self.call("GET", "/application_secrets", query={"application_id": application_id})

    async def post_application_secrets(self, body: models.SecretForm) -> Answer[models.SecretShown]:
        """A new secret, valid at every gateway from the next request on."""
        return await self.call("POST", "/application_secrets", body=body)

    async def put_application_secret(self, token: str, body: models.SecretForm) -> Answer[models.SecretShown]:
        """Give a secret another name."""
        return await self.call("PUT", "/application_secrets/{token}", parts={"token": token}, body=body)

    async def delete_application_secret(self, token: str, *, application_id: str) -> Answer[bytes]:
        """Revoke a secret: the next request with it is refused."""
        return await self.call(
            "DELETE", "/application_secrets/{token}", parts={"token": token}, query={"application_id": application_id}
        )

    async def list_service_token(self, *, organization_id: str) -> Answer[list[models.TokenShown]]:
        """An organization's valid tokens."""
        return await self.call("GET", "/service_token", query={"organization_id": organization_id})

    async def post_service_token(self, body: models.TokenForm) -> Answer[models.TokenShown]:
        """Create a token, valid at every gateway from the next request on."""
        return await self.call("POST", "/service_token", body=body)

    async def get_service_token(self, token_id: str, *, organization_id: str) -> Answer[models.TokenShown]:
        """One token."""
        return await self.call(
            "GET", "/service_token/{token_id}", parts={"token_id": token_id}, query={"organization_id": organization_id}
        )

    async def put_service_token(
        self, token_id: str, body: models.TokenForm, *, if_match: str | None = None
    ) -> Answer[models.TokenShown]:
        """Give a token another name or other limits: in force here at once, and within a second at every other
        gateway."""
        return await self.call(
            "PUT", "/service_token/{token_id}", parts={"token_id": token_id}, headers={"If-Match": if_match}, body=body
        )

    async def delete_service_token(self, token_id: str, *, organization_id: str) -> Answer[bytes]:
        """Revoke a token: the next request with it is refused here, and within a second at every other gateway."""
        return await self.call(
            "DELETE",
            "/service_token/{token_id}",
            parts={"token_id": token_id},
            query={"organization_id": organization_id},
        )

    async def list_event_types(
        self, *, application_id: str, limit: int | None = None, after: str | None = None, before: str | None = None
    ) -> Answer[list[models.EventTypeShown]]:
        """An application's active event types, by name. With `limit` a page of them; its `Link` leads on and back."""
        return await self.call(
            "GET",
            "/event_types",
            query={"application_id": application_id, "limit": limit, "after": after, "before": before},
        )

    async def post_event_types(self, body: models.EventTypeForm) -> Answer[models.EventTypeShown]:
        """Create an event type, or activate it again. One that exists is answered in the same way."""
        return await self.call("POST", "/event_types", body=body)

    async def delete_event_type(self, name: str, *, application_id: str) -> Answer[bytes]:
        """Deactivate an event type: the next event of this type is refused."""
        return await self.call(
            "DELETE", "/event_types/{name}", parts={"name": name}, query={"application_id": application_id}
        )

    async def get_event_type(self, name: str, *, application_id: str) -> Answer[models.ContractShown]:
        """One active event type."""
        return await self.call(
            "GET", "/event_types/{name}", parts={"name": name}, query={"application_id": application_id}
        )

    async def put_event_type(
        self, name: str, body: models.ContractForm, *, if_match: str | None = None
    ) -> Answer[models.ContractShown]:
        """Set schema, mode and example. The next event is checked against it."""
        return await self.call(
            "PUT", "/event_types/{name}", parts={"name": name}, headers={"If-Match": if_match}, body=body
        )

    async def list_event_type_schemas(self, name: str, *, application_id: str) -> Answer[list[models.SchemaShown]]:
        """The schemas that it has and had, newest first; 100 are kept."""
        return await self.call(
            "GET", "/event_types/{name}/schemas", parts={"name": name}, query={"application_id": application_id}
        )

    async def post_subscriptions_test_filter(self, body: models.FilterTestForm) -> Answer[models.FilterTestShown]:
        """Try a payload filter on a payload, or on an event that was accepted. Nothing is changed."""
        return await self.call("POST", "/subscriptions/test_filter", body=body)

    async def get_subscription_jwks_json(self, subscription_id: str, *, key: str) -> Answer[models.JsonWebKeySet]:
        """A subscription's public keys, for receivers: no token is asked for."""
        return await self.call(
            "GET",
            "/subscriptions/{subscription_id}/jwks.json",
            parts={"subscription_id": subscription_id},
            query={"key": key},
        )

    async def list_retry_schedules(self, *, application_id: str) -> Answer[list[models.RetryScheduleShown]]:
        """An application's retry schedules, oldest first."""
        return await self.call("GET", "/retry_schedules", query={"application_id": application_id})

    async def post_retry_schedules(self, body: models.RetryScheduleForm) -> Answer[models.RetryScheduleShown]:
        """A new retry schedule."""
        return await self.call("POST", "/retry_schedules", body=body)

    async def get_retry_schedule(
        self, retry_schedule_id: str, *, application_id: str
    ) -> Answer[models.RetryScheduleShown]:
        """One retry schedule."""
        return await self.call(
            "GET",
            "/retry_schedules/{retry_schedule_id}",
            parts={"retry_schedule_id": retry_schedule_id},
            query={"application_id": application_id},
        )

    async def put_retry_schedule(
        self, retry_schedule_id: str, body: models.RetryScheduleForm, *, if_match: str | None = None
    ) -> Answer[models.RetryScheduleShown]:
        """Replace name and delays, for all subscriptions that refer to it: failures from now on are retried by it."""
        return await self.call(
            "PUT",
            "/retry_schedules/{retry_schedule_id}",
            parts={"retry_schedule_id": retry_schedule_id},
            headers={"If-Match": if_match},
            body=body,
        )

    async def delete_retry_schedule(self, retry_schedule_id: str, *, application_id: str) -> Answer[bytes]:
        """Delete a retry schedule that no subscription refers to."""
        return await self.call(
            "DELETE",
            "/retry_schedules/{retry_schedule_id}",
            parts={"retry_schedule_id": retry_schedule_id},
            query={"application_id": application_id},
        )

    async def list_subscriptions(
        self, *, application_id: str, limit: int | None = None, pagination_cursor: str | None = None
    ) -> Answer[list[models.SubscriptionShown]]:
        """An application's subscriptions, oldest first. With `limit` a page of them; its `Link` leads on and back."""
        return await self.call(
            "GET",
            "/subscriptions",
            query={"application_id": application_id, "limit": limit, "pagination_cursor": pagination_cursor},
        )

    async def post_subscriptions(self, body: models.SubscriptionForm) -> Answer[models.SubscriptionShown]:
        """A new subscription with a new secret. The next event is matched with it."""
        return await self.call("POST", "/subscriptions", body=body)

    async def get_subscription(self, subscription_id: str) -> Answer[models.SubscriptionInfo]:
        """One subscription."""
        return await self.call("GET", "/subscriptions/{subscription_id}", parts={"subscription_id": subscription_id})

    async def put_subscription(
        self, subscription_id: str, body: models.SubscriptionForm, *, if_match: str | None = None
    ) -> Answer[models.SubscriptionShown]:
        """Replace all fields that its owner sets; the secret stays. Disabling cancels waiting deliveries."""
        return await self.call(
            "PUT",
            "/subscriptions/{subscription_id}",
            parts={"subscription_id": subscription_id},
            headers={"If-Match": if_match},
            body=body,
        )

    async def delete_subscription(self, subscription_id: str, *, application_id: str) -> Answer[bytes]:
        """Delete a subscription; waiting deliveries are cancelled. Deleted again: the same answer."""
        return await self.call(
            "DELETE",
            "/subscriptions/{subscription_id}",
            parts={"subscription_id": subscription_id},
            query={"application_id": application_id},
        )

    async def post_subscription_rotate_secret(
        self, subscription_id: str, body: models.RotationForm
    ) -> Answer[models.SubscriptionShown]:
        """A new secret; until the overlap is over deliveries are signed with both."""
        return await self.call(
            "POST",
            "/subscriptions/{subscription_id}/rotate_secret",
            parts={"subscription_id": subscription_id},
            body=body,
        )

    async def post_subscription_test(self, subscription_id: str, body: models.TestForm) -> Answer[models.TestShown]:
        """Send an event of the type `hookline.test` to this subscription, also a disabled one."""
        return await self.call(
            "POST", "/subscriptions/{subscription_id}/test", parts={"subscription_id": subscription_id}, body=body
        )

    async def get_events_export(
        self, *, application_id: str, from_: str | None = None, to: str | None = None
    ) -> Answer[bytes]:
        """The application's events with their payloads in base64, in the order of the log."""
        return await self.call(
            "GET", "/events/export", query={"application_id": application_id, "from": from_, "to": to}
        )

    async def get_request_attempts_export(
        self, *, application_id: str, from_: str | None = None, to: str | None = None
    ) -> Answer[bytes]:
        """The application's attempts that were made or cancelled, by event and delivery."""
        return await self.call(
            "GET", "/request_attempts/export", query={"application_id": application_id, "from": from_, "to": to}
        )

    async def get_event(self, event_id: str, *, application_id: str) -> Answer[models.EventWithPayload]:
        """One event with its payload in base64; one that was accepted just now is waited for."""
        return await self.call(
            "GET", "/events/{event_id}", parts={"event_id": event_id}, query={"application_id": application_id}
        )

    async def list_events_per_day_application(
        self, *, application_id: str, from_: str | None = None, to: str | None = None
    ) -> Answer[list[models.DayShown]]:
        """Events a day of one application."""
        return await self.call(
            "GET", "/events_per_day/application", query={"application_id": application_id, "from": from_, "to": to}
        )

    async def list_events_per_day_organization(
        self, *, organization_id: str, from_: str | None = None, to: str | None = None
    ) -> Answer[list[models.DayShown]]:
        """Events a day of each application of an organization."""
        return await self.call(
            "GET", "/events_per_day/organization", query={"organization_id": organization_id, "from": from_, "to": to}
        )

    async def get_stats(
        self,
        *,
        application_id: str,
        subscription_id: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        step: Literal["minute", "hour", "day"] | None = None,
    ) -> Answer[models.StatsShown]:
        """Outcomes, errors and latency of attempts, by the minute in which they ended."""
        return await self.call(
            "GET",
            "/stats",
            query={
                "application_id": application_id,
                "subscription_id": subscription_id,
                "from": from_,
                "to": to,
                "step": step,
            },
        )

    async def post_event_replay(self, event_id: str, body: models.ReplayForm) -> Answer[bytes]:
        """Send an event again; answered when the log has its deliveries."""
        return await self.call("POST", "/events/{event_id}/replay", parts={"event_id": event_id}, body=body)

    async def get_event_payload(self, event_id: str, *, application_id: str, range_: str | None = None) -> Answer[Any]:
        """The payload, byte for byte: what receivers get as the body. Takes a `Range` (RFC 9110 §14)."""
        return await self.call(
            "GET",
            "/events/{event_id}/payload",
            parts={"event_id": event_id},
            query={"application_id": application_id},
            headers={"Range": range_},
        )

    async def list_search(self, *, application_id: str, q: str) -> Answer[list[models.Found]]:
        """Show what the application has under the id `q`; an empty list when it is no id."""
        return await self.call("GET", "/search", query={"application_id": application_id, "q": q})

    async def list_deliveries(
        self,
        *,
        application_id: str,
        event_id: str | None = None,
        subscription_id: str | None = None,
        event_event_type_names: str | None = None,
        min_created_at: str | None = None,
        max_created_at: str | None = None,
        state: str | None = None,
        pagination_cursor: str | None = None,
    ) -> Answer[list[models.DeliveryShown]]:
        """A page of an application's deliveries, newest first; its `Link` header leads on and back."""
        return await self.call(
            "GET",
            "/deliveries",
            query={
                "application_id": application_id,
                "event_id": event_id,
                "subscription_id": subscription_id,
                "event.event_type_names": event_event_type_names,
                "min_created_at": min_created_at,
                "max_created_at": max_created_at,
                "state": state,
                "pagination_cursor": pagination_cursor,
            },
        )

    async def get_delivery(self, delivery_id: str, *, application_id: str) -> Answer[models.DeliveryShown]:
        """One delivery."""
        return await self.call(
            "GET",
            "/deliveries/{delivery_id}",
            parts={"delivery_id": delivery_id},
            query={"application_id": application_id},
        )

    async def get_subscription_health(self, subscription_id: str) -> Answer[models.SubscriptionHealth]:
        """Success ratio and latency of attempts, what waits, when the next attempt is due, and the breaker."""
        return await self.call(
            "GET", "/subscriptions/{subscription_id}/health", parts={"subscription_id": subscription_id}
        )

    async def list_request_attempts(
        self,
        *,
        application_id: str,
        event_id: str | None = None,
        subscription_id: str | None = None,
        min_created_at: str | None = None,
        max_created_at: str | None = None,
        event_event_type_names: str | None = None,
        pagination_cursor: str | None = None,
        status: str | None = None,
    ) -> Answer[list[models.AttemptShown]]:
        """A page of attempts, newest first; its `Link` header leads on and back."""
        return await self.call(
            "GET",
            "/request_attempts",
            query={
                "application_id": application_id,
                "event_id": event_id,
                "subscription_id": subscription_id,
                "min_created_at": min_created_at,
                "max_created_at": max_created_at,
                "event.event_type_names": event_event_type_names,
                "pagination_cursor": pagination_cursor,
                "status": status,
            },
        )

    async def get_request_attempt(self, request_attempt_id: str, *, application_id: str) -> Answer[models.AttemptInfo]:
        """One attempt, with an addition of ours: the request as it was sent, how long its parts took, what comes
        next."""
        return await self.call(
            "GET",
            "/request_attempts/{request_attempt_id}",
            parts={"request_attempt_id": request_attempt_id},
            query={"application_id": application_id},
        )

    async def post_request_attempt_retry(
        self, request_attempt_id: str, body: models.RetryForm
    ) -> Answer[models.RetryShown]:
        """Send the delivery of an attempt again, also to a disabled subscription; answered when the log has it."""
        return await self.call(
            "POST",
            "/request_attempts/{request_attempt_id}/retry",
            parts={"request_attempt_id": request_attempt_id},
            body=body,
        )

    async def get_response(self, response_id: str, *, application_id: str) -> Answer[models.ResponseShown]:
        """One response. Its id is the attempt's."""
        return await self.call(
            "GET",
            "/responses/{response_id}",
            parts={"response_id": response_id},
            query={"application_id": application_id},
        )

    async def list_dead_letters(
        self,
        *,
        application_id: str,
        subscription_id: str | None = None,
        event_id: str | None = None,
        reason: str | None = None,
        min_died_at: str | None = None,
        max_died_at: str | None = None,
        with_redriven: str | None = None,
        pagination_cursor: str | None = None,
    ) -> Answer[list[models.LetterShown]]:
        """A page of an application's dead letters, oldest first; its `Link` header leads on and back."""
        return await self.call(
            "GET",
            "/dead_letters",
            query={
                "application_id": application_id,
                "subscription_id": subscription_id,
                "event_id": event_id,
                "reason": reason,
                "min_died_at": min_died_at,
                "max_died_at": max_died_at,
                "with_redriven": with_redriven,
                "pagination_cursor": pagination_cursor,
            },
        )

    async def post_dead_letters_redrive(self, body: models.RedriveForm) -> Answer[models.RedriveShown]:
        """Send dead letters again, at most 10,000 a call; those that were sent again already are left out."""
        return await self.call("POST", "/dead_letters/redrive", body=body)

    async def get_dead_letter(self, dead_id: str, *, application_id: str) -> Answer[models.LetterShown]:
        """One dead letter."""
        return await self.call(
            "GET", "/dead_letters/{dead_id}", parts={"dead_id": dead_id}, query={"application_id": application_id}
        )

    async def get_swagger_json(self) -> Answer[dict[str, Any]]:
        """The API's document: OpenAPI 3.1."""
        return await self.call("GET", "/swagger.json")

    async def get_openapi_json(self) -> Answer[dict[str, Any]]:
        """The API's document: OpenAPI 3.1."""
        return await self.call("GET", "/openapi.json")

    async def get_docs(self) -> Answer[bytes]:
        """The document as a page to read."""
        return await self.call("GET", "/docs")
