-- The audit log is read newest first: all of it, or that of an actor, of an action, or about a target.
create index audit_entry_project_id_id_idx on audit_entry (project_id, id desc);
create index audit_entry_project_id_actor_id_idx on audit_entry (project_id, actor, id desc);
create index audit_entry_project_id_action_id_idx on audit_entry (project_id, action, id desc);
create index audit_entry_project_id_target_id_idx on audit_entry (project_id, target, id desc);
